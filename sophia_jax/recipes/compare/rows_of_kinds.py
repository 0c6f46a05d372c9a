"""A part of the pictures to read: some kinds of rows alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sophia_jax.data.datasets.handwriting import Handwriting

__all__ = ["RowsOfKinds"]


class RowsOfKinds:
    """The handwriting data set without the rows of other kinds.

    Args:
      builder: of the whole one.
      kinds: of the rows that stay, as their column `kind` names them.
    """

    def __init__(self, builder: Handwriting, kinds: Collection[str]):
        self._builder, self._kinds = builder, kinds

    def as_data_source(self, split: str) -> Sequence[dict[str, Any]]:
        """The rows of a split that are of the kinds, in their order."""
        import tensorflow_datasets as tfds

        rows = self._builder.as_data_source(split)
        undecoded = self._builder.as_data_source(
            split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        kinds = (row["kind"].decode() for row in undecoded)
        return _Part(rows, [n for n, kind in enumerate(kinds) if kind in self._kinds])


class _Part(Sequence):
    """Some of a source's rows."""

    def __init__(self, rows: Sequence[dict[str, Any]], numbers: Sequence[int]):
        self._rows, self._numbers = rows, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[self._numbers[index]]
