"""Where a collection is stored: three tables, cut into shards by question."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_jax.paths import as_path
from sophia_jax.rollouts.store import (
    CAPTIONS,
    REASONINGS,
    ROUTES,
    SELECTION,
    ShardedTable,
)
from sophia_jax.types import InputError, Item

__all__ = ["RolloutTables", "check_rows"]


@dataclass(frozen=True)
class RolloutTables:
    """The captions, the reasonings and the selection of a set of questions.

    A shard that exists is never made again: a killed collection goes on with the first
    one that is missing, and ends with the same bytes.

    Attributes:
      folder: of the three tables; a text is made a path.
      items: all questions, in order, each with an id of its own.
      questions_per_shard: one shard holds the rows of this many questions.

    Raises:
      InputError: there is no question, or two have the same id.
      ValueError: questions_per_shard is not positive.
    """

    folder: Path | str
    items: tuple[Item, ...]
    questions_per_shard: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", as_path(self.folder))
        if self.questions_per_shard < 1:
            raise ValueError(
                f"questions_per_shard: expected >= 1, got {self.questions_per_shard}"
            )
        if not self.items:
            raise InputError("items: expected at least one question, got none")
        name, times = Counter(item.id for item in self.items).most_common(1)[0]
        if times > 1:
            raise InputError(f"items: expected unique ids, got {name!r} {times} times")

    @property
    def num_shards(self) -> int:
        return -(-len(self.items) // self.questions_per_shard)

    @property
    def captions(self) -> ShardedTable:
        return ShardedTable(self.folder / "captions", CAPTIONS, self.num_shards)

    @property
    def reasonings(self) -> ShardedTable:
        return ShardedTable(self.folder / "reasonings", REASONINGS, self.num_shards)

    @property
    def selection(self) -> ShardedTable:
        return ShardedTable(self.folder / "selection", SELECTION, self.num_shards)

    @property
    def routes(self) -> ShardedTable:
        """Only where there are two reasoners."""
        return ShardedTable(self.folder / "routes", ROUTES, self.num_shards)

    def questions(self, shard: int) -> tuple[Item, ...]:
        """The items of one shard."""
        start = shard * self.questions_per_shard
        return self.items[start : start + self.questions_per_shard]


def check_rows(
    rows: Sequence[Mapping[str, Any]], table: str, items: Sequence[Item], **sizes: int
) -> None:
    """See that stored rows are those of some questions: none missing, all in order.

    Args:
      rows: of a table.
      table: its name.
      items: the questions.
      sizes: the columns that count the rows of one question, outermost first, and how
        far they count: `caption=8, reasoning=8`.

    Raises:
      InputError: they are not; names the first that differs.
    """
    columns = ("question_id", *sizes)
    counts = map(range, sizes.values())
    expected = itertools.product([item.id for item in items], *counts)
    found = (tuple(row[column] for column in columns) for row in rows)
    for wanted, got in itertools.zip_longest(expected, found):
        if wanted != got:
            raise InputError(
                f"{table}: expected {', '.join(columns)} = {wanted}, got {got}; the "
                "table is of other questions or other settings"
            )
