"""Off-policy: a frozen text-only reasoner answers from the captions."""

from __future__ import annotations

from collections.abc import Sequence

from sophia_jax.config import SophiaConfig
from sophia_jax.rollouts.captions import sample_row
from sophia_jax.seeds import group_seed
from sophia_jax.types import GenerateFn, Item, Request, RewardFn

__all__ = ["write_reasonings"]


def write_reasonings(
    reasoner: GenerateFn,
    verify: RewardFn,
    items: Sequence[Item],
    captions: Sequence[dict],
    template: str,
    config: SophiaConfig,
) -> list[dict]:
    """N verified reasonings for each caption.

        y(1..N) ~ π̄(· | prompt(c, x_q)),   R(y) = 1 if the answer is right, else 0

    A reasoning that was cut off is wrong, whatever it says.

    Args:
      reasoner: samples from the frozen text-only model.
      verify: judges (response, answer) pairs.
      items: with their questions and answers.
      captions: rows of the captions table for these items.
      template: of the reasoner's prompt, with {caption} and {question}.
      config: N and the seeds.

    Returns:
      Rows of the reasonings table, by item, caption and reasoning.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, algorithm 1 and eq. (4).
    """
    by_id = {item.id: item for item in items}
    requests = {}
    for row in captions:
        question_id, caption = row["question_id"], row["caption"]
        name = f"{caption}/{question_id}"
        requests[name] = (row, Request(
            group=name,
            text=template.format(
                caption=row["text"], question=by_id[question_id].question
            ),
            num_samples=config.num_reasonings,
            seed=group_seed(
                config.seed, config.round, "reasoning", question_id, caption
            ),
        ))
    completions = list(reasoner(request for _, request in requests.values()))
    order = {name: place for place, name in enumerate(requests)}
    completions.sort(key=lambda completion: (order[completion.group], completion.sample))
    verdicts = verify(
        [
            (c.text, by_id[requests[c.group][0]["question_id"]].answer)
            for c in completions
        ]
    )
    rows = []
    for completion, verdict in zip(completions, verdicts, strict=True):
        caption, request = requests[completion.group]
        whole = completion.finish_reason == "stop"
        rows.append(
            {
                "question_id": caption["question_id"],
                "caption": caption["caption"],
                "reasoning": completion.sample,
                "prompt": request.text,
                **sample_row(completion, request.seed),
                "verdict": verdict.value if whole else "wrong",
                "reward": float(bool(verdict) and whole),
            }
        )
    return rows
