"""What the rollouts of a run came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sophia_jax.rollouts.store import CAPTIONS, REASONINGS, SELECTION
from sophia_jax.viz.columns import Shards, find_shards, read_columns, some_columns
from sophia_jax.viz.summary import RolloutCounts

__all__ = [
    "RolloutShards",
    "count_rollouts",
    "read_lengths",
    "read_question_shards",
    "read_selection",
]

MAX_LENGTH_SHARDS = 64  # of a large run, lengths are read from so many shards

_SELECTED = some_columns(
    SELECTION,
    "question_id",
    "least_caption_rewards",
    "most_caption_rewards",
    "kept",
    "reason",
    "caption",
    "reasoning",
    "num_tokens",
)
_CAPTION = some_columns(CAPTIONS, "question_id")
_CAPTION_TEXT = some_columns(CAPTIONS, "question_id", "caption", "text")
_OUTCOME = some_columns(REASONINGS, "reward")
_LENGTH = some_columns(
    REASONINGS, "question_id", "caption", "reasoning", "reward", "token_ids"
)
_REASONING_TEXT = some_columns(
    REASONINGS,
    "question_id",
    "caption",
    "reasoning",
    "text",
    "verdict",
    "finish_reason",
    "token_ids",
)


@dataclass(frozen=True)
class RolloutShards:
    """The files of the three tables that are there."""

    captions: Shards
    reasonings: Shards
    selection: Shards

    @classmethod
    def find(cls, run_folder: Path) -> RolloutShards:
        """Of a run; damaged names or mixed tables are an InputError."""
        names = ("captions", "reasonings", "selection")
        return cls(*(find_shards(run_folder / "rollouts" / name) for name in names))

    @property
    def incomplete(self) -> tuple[str, ...]:
        """One line for each table that has begun and lacks shards."""
        tables = (self.captions, self.reasonings, self.selection)
        return tuple(
            f"{table.name} has {len(table.paths)} of {table.num_shards} files"
            for table in tables
            if len(table.paths) < table.num_shards
        )

    @property
    def with_lengths(self) -> tuple[Path, ...]:
        """Files of reasonings that lengths are read from, evenly spread."""
        stride = max(-(-len(self.reasonings.paths) // MAX_LENGTH_SHARDS), 1)
        return self.reasonings.paths[::stride]

    @property
    def length_share(self) -> str:
        """Of which part of the reasonings the lengths are; empty where of all."""
        read, there = len(self.with_lengths), len(self.reasonings.paths)
        return "" if read == there else f"from {read} of {there} files of reasonings"


def read_selection(shards: RolloutShards) -> list[dict]:
    """One row per question that was decided on, without the texts."""
    return [
        row
        for path in shards.selection.paths
        for row in read_columns(path, _SELECTED).to_pylist()
    ]


def read_question_shards(
    shards: RolloutShards,
) -> Iterator[tuple[dict, list[dict], list[dict]]]:
    """Question after question, with its texts.

    A shard of each table holds the same questions; where that of another table is not
    there, its rows are not.

    Args:
      shards: of the three tables.

    Yields:
      A row of the selection, its captions, and its reasonings, which have `num_tokens`
      in the reasoner's own tokens, None where a server gave none.
    """
    captions, reasonings = (
        {path.name: path for path in table.paths}
        for table in (shards.captions, shards.reasonings)
    )
    for path in shards.selection.paths:
        texts = _by_question(captions.get(path.name), _CAPTION_TEXT)
        thoughts = _by_question(reasonings.get(path.name), _REASONING_TEXT)
        for row in read_columns(path, _SELECTED).to_pylist():
            name = row["question_id"]
            yield row, texts.get(name, []), thoughts.get(name, [])


def _by_question(path: Path | None, schema: pa.Schema) -> dict[str, list[dict]]:
    """The rows of a file, without tokens but with their number."""
    found: dict[str, list[dict]] = {}
    if path is None:
        return found
    table = read_columns(path, schema)
    if "token_ids" in schema.names:
        table = _with_lengths(table)
    for row in table.to_pylist():
        found.setdefault(row["question_id"], []).append(row)
    return found


def _with_lengths(table: pa.Table) -> pa.Table:
    """`num_tokens` instead of the tokens; null of a text without any."""
    lengths = pc.list_value_length(table["token_ids"])
    lengths = pc.if_else(pc.greater(lengths, 0), lengths, None)
    return table.drop_columns("token_ids").append_column("num_tokens", lengths)


def count_rollouts(shards: RolloutShards, selection: Sequence[dict]) -> RolloutCounts:
    """The counts, from the tables themselves.

    Args:
      shards: of the three tables.
      selection: its rows.

    Returns:
      The counts; None for what has no table yet.
    """
    captions = [read_columns(path, _CAPTION) for path in shards.captions.paths]
    outcomes = [
        read_columns(path, _OUTCOME)["reward"] for path in shards.reasonings.paths
    ]
    right = [pc.sum(pc.greater(rewards, 0)).as_py() or 0 for rewards in outcomes]
    reasons = Counter(row["reason"] for row in selection if not row["kept"])
    return RolloutCounts(
        num_questions=len(selection) if shards.selection.paths else None,
        captions=sum(map(len, captions)) if captions else None,
        reasonings=sum(map(len, outcomes)) if outcomes else None,
        right=sum(right) if outcomes else None,
        kept=sum(row["kept"] for row in selection) if shards.selection.paths else None,
        dropped=dict(reasons),
    )


def read_lengths(
    shards: RolloutShards, selection: Sequence[dict]
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of right reasonings and of those kept, in the reasoner's own tokens.

    Args:
      shards: of the three tables; MAX_LENGTH_SHARDS of them are read, evenly spread.
      selection: its rows.

    Returns:
      Int[right] and Int[kept]; a server that gives no tokens leaves them empty.
    """
    kept = {
        (row["question_id"], row["caption"], row["reasoning"])
        for row in selection
        if row["kept"]
    }
    right_lengths, kept_lengths = [], []
    for path in shards.with_lengths:
        table = _with_lengths(read_columns(path, _LENGTH))
        lengths = table["num_tokens"]
        right = pc.and_(pc.greater(table["reward"], 0), pc.greater(lengths, 0))
        for row in table.filter(right).to_pylist():
            right_lengths.append(row["num_tokens"])
            if (row["question_id"], row["caption"], row["reasoning"]) in kept:
                kept_lengths.append(row["num_tokens"])
    return np.array(right_lengths, int), np.array(kept_lengths, int)
