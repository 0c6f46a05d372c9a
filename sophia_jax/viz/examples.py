"""A few questions of the rollouts, chosen by a rule and not by their looks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from sophia_jax.types import Item

__all__ = ["choose_questions", "in_turn"]

FEWEST_DROPPED = 4  # of the questions shown, where so many were dropped

Row = TypeVar("Row")


def choose_questions(
    selection: Sequence[dict], items: Mapping[str, Item], num_questions: int
) -> list[dict]:
    """The questions to show: the kinds in turn, in the order of the run.

    Kept ones come first, among them those whose captions earned different rewards;
    dropped ones take turns by reason.

    Args:
      selection: rows of the table.
      items: the questions.
      num_questions: how many to show.

    Returns:
      Their rows.
    """

    def kept_group(row: dict) -> tuple[bool, str]:
        item = items.get(row["question_id"])
        rewards = zip(
            row["least_caption_rewards"], row["most_caption_rewards"], strict=True
        )
        return len(set(rewards)) == 1, item.kind if item else ""

    kept = in_turn([row for row in selection if row["kept"]], kept_group)
    dropped = in_turn(
        [row for row in selection if not row["kept"]], lambda row: row["reason"]
    )
    num_kept = num_questions - min(FEWEST_DROPPED, len(dropped))
    shown = kept[:num_kept]
    return shown + dropped[: num_questions - len(shown)]


def in_turn(rows: Iterable[Row], group_fn: Callable[[Row], Hashable]) -> list[Row]:
    """The first row of each group, then the second of each, and so on.

    Args:
      rows: in the order that each group keeps.
      group_fn: gives a row's group; groups take turns in ascending order.

    Returns:
      All rows.
    """
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(group_fn(row), []).append(row)
    rounds = itertools.zip_longest(*(groups[name] for name in sorted(groups)))
    return [row for each in rounds for row in each if row is not None]
