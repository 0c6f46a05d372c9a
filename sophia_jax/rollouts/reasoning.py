"""Off-policy: a frozen text-only reasoner answers from the captions."""

from __future__ import annotations

from collections.abc import Sequence

from sophia_jax.completions import judge_completions, sample_in_order
from sophia_jax.config import SophiaConfig
from sophia_jax.rollouts.captions import sample_row
from sophia_jax.rollouts.early_stopping import EarlyStopping, hopeful_order
from sophia_jax.rollouts.tables import check_rows
from sophia_jax.seeds import group_seed
from sophia_jax.types import GenerateFn, Item, Request, RewardFn

__all__ = ["question_of", "write_reasonings"]


def write_reasonings(
    reasoner: GenerateFn,
    verify: RewardFn,
    items: Sequence[Item],
    captions: Sequence[dict],
    template: str,
    config: SophiaConfig,
    *,
    counts_tokens: bool = False,
) -> list[dict]:
    """N verified reasonings for each caption.

        y(1..N) ~ π̄(· | prompt(c, x_q)),   R(y) = 1 if the answer is right, else 0

    A reasoning that was cut off is wrong, whatever it says. Where the reasoner can be
    stopped, it leaves what cannot change the selection; such rows are "unfinished".

    Args:
      reasoner: samples from the frozen text-only model.
      verify: judges (response, answer) pairs.
      items: with their questions and answers.
      captions: rows of the captions table for these items.
      template: of the reasoner's prompt, with {caption} and {question}.
      config: N, the seeds, and whether reasonings are stopped early.
      counts_tokens: whether the reasoner's tokens are those that the selection counts.

    Returns:
      Rows of the reasonings table, by item, caption and reasoning.

    Raises:
      InputError: the captions are not those of these items, K of each.
      RuntimeError: the reasoner loses, repeats or makes up a completion.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, algorithm 1 and eq. (4).
    """
    check_rows(captions, "captions", items, caption=config.num_captions)
    by_id = {item.id: item for item in items}
    asked = [
        (row, _request(by_id[row["question_id"]], row, template, config))
        for row in (
            captions[index] for index in hopeful_order(captions, config.num_captions)
        )
    ]
    requests = [request for _, request in asked]
    watch = None
    if config.early_stopping:
        places = {
            request.group: (row["question_id"], row["caption"])
            for row, request in asked
        }
        watch = EarlyStopping(
            verify, items, places, config, counts_tokens=counts_tokens
        )
    completions = sample_in_order(reasoner, requests, watch)
    conditions = [pair for pair in asked for _ in range(config.num_reasonings)]
    if watch is None:
        answers = [by_id[row["question_id"]].answer for row, _ in conditions]
        verdicts = judge_completions(verify, completions, answers)
    else:
        verdicts = [watch.verdicts[each.group, each.sample] for each in completions]
    rows = [
        {
            "question_id": caption["question_id"],
            "caption": caption["caption"],
            "reasoning": completion.sample,
            "prompt": request.text,
            **sample_row(completion, request.seed),
            "verdict": verdict,
            "reward": None if verdict == "unfinished" else float(verdict == "right"),
        }
        for (caption, request), completion, verdict in zip(
            conditions, completions, verdicts, strict=True
        )
    ]
    order = {item.id: place for place, item in enumerate(items)}
    return sorted(
        rows,
        key=lambda row: (order[row["question_id"]], row["caption"], row["reasoning"]),
    )


def question_of(request: Request) -> str:
    """The id of the question that a request of `write_reasonings` asks."""
    return request.group.partition("/")[2]


def _request(item: Item, caption: dict, template: str, config: SophiaConfig) -> Request:
    """The question, with what the caption says in the picture's stead."""
    return Request(
        group=f"{caption['caption']}/{item.id}",
        text=template.format(caption=caption["text"], question=item.question),
        num_samples=config.num_reasonings,
        seed=group_seed(
            config.seed, config.round, "reasoning", item.id, caption["caption"]
        ),
    )
