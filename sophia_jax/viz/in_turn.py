"""Examples that are chosen by a rule and not by their looks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

__all__ = ["in_turn"]

Row = TypeVar("Row")


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
