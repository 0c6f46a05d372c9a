"""Answers as they are kept while an evaluation runs, so that a killed one goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from sophia_jax.evaluation.predictions import PREDICTIONS
from sophia_jax.rollouts.store import ShardedTable
from sophia_jax.rollouts.tables import check_rows
from sophia_jax.types import Item

__all__ = ["AnswerShards"]

CAPTIONS = pa.schema(
    [PREDICTIONS.field(name) for name in ("question_id", "caption", "caption_right")]
)
SCORES = pa.schema(
    [PREDICTIONS.field(name) for name in ("question_id", "sample", "score")]
)


@dataclass(frozen=True)
class AnswerShards:
    """Tables of answers, captions and a judge's scores, cut into shards by question.

    A shard appears whole or not at all and is never made again. What is in it depends
    on its own questions alone, so all of them come to the same, killed or not.

    Attributes:
      folder: of the tables.
      items: all questions, in order.
      num_samples: answers to each.
      questions_per_shard: one shard holds the rows of this many questions.
      has_scores: whether there is a judge.
    """

    folder: Path
    items: tuple[Item, ...]
    num_samples: int
    questions_per_shard: int
    has_scores: bool = False

    @property
    def num_shards(self) -> int:
        return -(-len(self.items) // self.questions_per_shard)

    @property
    def answers(self) -> ShardedTable:
        """Rows of `PREDICTIONS`, their captions and scores null."""
        return ShardedTable(self.folder / "answers", PREDICTIONS, self.num_shards)

    @property
    def captions(self) -> ShardedTable:
        """The captions of the questions of which the true one is known."""
        return ShardedTable(self.folder / "captions", CAPTIONS, self.num_shards)

    @property
    def scores(self) -> ShardedTable:
        """The score of each answer; null where there is none."""
        return ShardedTable(self.folder / "scores", SCORES, self.num_shards)

    @property
    def has_captions(self) -> bool:
        return any(item.caption is not None for item in self.items)

    def questions(self, shard: int) -> tuple[Item, ...]:
        """The items of one shard."""
        start = shard * self.questions_per_shard
        return self.items[start : start + self.questions_per_shard]

    def described(self, shard: int) -> tuple[Item, ...]:
        """Those of which the true caption is known."""
        return tuple(i for i in self.questions(shard) if i.caption is not None)

    def answered(self, shard: int) -> list[dict]:
        """Rows of `answers`, one shard of them.

        Raises:
          InputError: the shard is missing, damaged, or of other questions.
        """
        rows = self.answers.read(shard)
        check_rows(rows, "answers", self.questions(shard), sample=self.num_samples)
        return rows

    def predictions(self) -> Iterator[list[dict]]:
        """Rows of `PREDICTIONS`, of one shard after the other.

        Raises:
          InputError: a shard is missing, damaged, or of other questions.
        """
        for shard in range(self.num_shards):
            rows = self.answered(shard)
            captions = self.captions.read(shard) if self.has_captions else []
            of_question = {row["question_id"]: row for row in captions}
            rows = [
                row if row["sample"] else row | of_question.get(row["question_id"], {})
                for row in rows
            ]
            yield self._with_scores(shard, rows) if self.has_scores else rows

    def _with_scores(self, shard: int, rows: list[dict]) -> list[dict]:
        scores = self.scores.read(shard)
        check_rows(scores, "scores", self.questions(shard), sample=self.num_samples)
        return [
            row | {"score": scored["score"]}
            for row, scored in zip(rows, scores, strict=True)
        ]
