"""Preferences mined from stored rollouts: right reasonings against wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.data.preferences import Preference
from sophia_jax.data.prompts import Prompts
from sophia_jax.rewards import select_pairs
from sophia_jax.rollouts.tables import check_rows
from sophia_jax.seeds import group_seed
from sophia_jax.types import Item

__all__ = ["MinedPair", "MiningConfig", "mine_pairs"]


@dataclass(frozen=True)
class MiningConfig:
    """Which reasonings become pairs.

    Attributes:
      num_captions, num_reasonings: K and N of the rollouts.
      threshold: α, the share of right reasonings that a caption must exceed.
      num_pairs: the most pairs of a question.
      cut_off: whether a reasoning that reached the length limit counts as wrong. One
        that was stopped early never does: nobody knows what it would have said.
      seed: of the draws.
    """

    num_captions: int
    num_reasonings: int
    threshold: float
    num_pairs: int = 1
    cut_off: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_captions", "num_reasonings", "num_pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected >= 1, got {getattr(self, name)}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(
                f"threshold: expected between 0 and 1, got {self.threshold}"
            )


@dataclass(frozen=True)
class MinedPair:
    """A preference, and where its two texts stand in the reasonings table.

    Attributes:
      preference: its id is the question's with the pair's number.
      question_id: of the item.
      chosen, rejected: (caption, reasoning).
    """

    preference: Preference
    question_id: str
    chosen: tuple[int, int]
    rejected: tuple[int, int]


def mine_pairs(
    items: Sequence[Item],
    reasonings: Sequence[dict],
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None,
    prompts: Prompts,
    config: MiningConfig,
) -> list[MinedPair]:
    """Right against wrong reasonings of the same question, as of `select_pairs`.

    Both are answers to the picture and the plain question: the caption only says which
    of them count. Wrong is what ended with a wrong answer; what could not be judged,
    was refused or was stopped is neither right nor wrong. A text stands in one pair of
    a question as rejected, however often it was sampled. The system prompt is the one
    with which the chosen text would be learnt, for both: they answer the same prompt.

    Args:
      items: the questions.
      reasonings: rows of the reasonings table for these items.
      count_tokens: as of `select_trajectories`.
      prompts: of the loop.
      config: which ones.

    Returns:
      The pairs, in the order of the items.

    Raises:
      InputError: the reasonings are not those of these items, K N of each.
    """
    shape = (config.num_captions, config.num_reasonings)
    check_rows(reasonings, "reasonings", items, caption=shape[0], reasoning=shape[1])
    size = shape[0] * shape[1]
    return [
        pair
        for index, item in enumerate(items)
        for pair in _pairs_of(
            item,
            reasonings[index * size : (index + 1) * size],
            count_tokens,
            prompts,
            config,
        )
    ]


def _pairs_of(
    item: Item,
    rows: Sequence[dict],
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None,
    prompts: Prompts,
    config: MiningConfig,
) -> list[MinedPair]:
    shape = (config.num_captions, config.num_reasonings)
    right = np.array([row["reward"] == 1.0 for row in rows]).reshape(shape)
    wrong = np.array(_wrong(rows, cut_off=config.cut_off)).reshape(shape)
    lengths = np.array([len(row["token_ids"]) for row in rows]).reshape(shape)
    if count_tokens is not None:
        texts = [row["text"] for row in rows if row["reward"] == 1.0]
        lengths[right] = count_tokens(texts)
    found = select_pairs(
        right,
        wrong,
        lengths,
        threshold=config.threshold,
        num_pairs=config.num_pairs,
        seed=group_seed(config.seed, 0, "pairs", item.id),
    )
    by_place = dict(zip(np.ndindex(shape), rows, strict=True))
    return [
        MinedPair(
            _preference(item, number, by_place[chosen], by_place[rejected], prompts),
            item.id,
            chosen,
            rejected,
        )
        for number, (chosen, rejected) in enumerate(found)
    ]


def _wrong(rows: Sequence[dict], *, cut_off: bool) -> list[bool]:
    """Of each row whether it may be rejected; of equal texts the first may."""
    reasons = ("stop", "length") if cut_off else ("stop",)
    seen: set[str] = set()
    found = []
    for row in rows:
        may = row["verdict"] == "wrong" and row["finish_reason"] in reasons
        may = may and bool(row["text"].strip()) and row["text"] not in seen
        found.append(may)
        if may:
            seen.add(row["text"])
    return found


def _preference(
    item: Item, number: int, chosen: dict, rejected: dict, prompts: Prompts
) -> Preference:
    return Preference(
        id=f"{item.id}/{number}",
        question=item.question,
        answer=chosen["text"],
        images=item.images,
        kind=item.kind,
        level=item.level,
        rejected=rejected["text"],
        system=prompts.system_for(chosen["text"]),
        rejected_ended=rejected["finish_reason"] == "stop",
    )
