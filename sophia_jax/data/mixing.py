"""Several sources of examples in one order, in fixed shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grain.python as grain

__all__ = ["mix_examples"]


def mix_examples(
    parts: Sequence[tuple[Sequence[Any], int]], *, seed: int
) -> grain.MapDataset:
    """Take so many examples of each part in turn, each part in epochs of its own.

    With weights that sum to a batch's size, every batch holds exactly so many of each,
    so that batches are alike in length too.

    Args:
      parts: random-access sources, none of them empty, with whole weights > 0.
      seed: of the orders; each epoch has a new one.

    Returns:
      An endless source.

    Raises:
      ValueError: there is no part, one is empty, or a weight is not positive.
    """
    if not parts:
        raise ValueError("parts: expected at least one, got none")
    for number, (part, weight) in enumerate(parts):
        if not len(part) or weight < 1:
            raise ValueError(
                f"part {number}: expected examples and a weight > 0, got {len(part)} "
                f"and {weight}"
            )
    shuffled = [
        _dataset(part).seed(seed + number).shuffle().repeat()
        for number, (part, _) in enumerate(parts)
    ]
    return grain.MapDataset.mix(shuffled, [weight for _, weight in parts])


def _dataset(part: Sequence[Any]) -> grain.MapDataset:
    if isinstance(part, grain.MapDataset):
        return part
    return grain.MapDataset.source(part)
