"""Where a collection is stored: three tables, cut into shards by question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sophia_jax.rollouts.store import CAPTIONS, REASONINGS, SELECTION, ShardedTable
from sophia_jax.types import Item

__all__ = ["RolloutTables"]


@dataclass(frozen=True)
class RolloutTables:
    """Where a collection is stored, and how it is cut into shards.

    A shard that exists is never made again: a killed collection goes on with the first
    one that is missing, and ends with the same bytes.

    Attributes:
      folder: of the three tables.
      items: all questions, in order.
      questions_per_shard: one shard holds the rows of this many questions.
    """

    folder: Path
    items: tuple[Item, ...]
    questions_per_shard: int = 128

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

    def questions(self, shard: int) -> tuple[Item, ...]:
        """The items of one shard."""
        start = shard * self.questions_per_shard
        return self.items[start : start + self.questions_per_shard]
