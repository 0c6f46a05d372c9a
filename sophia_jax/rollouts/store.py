"""Tables between the stages of a run, as Parquet shards that appear whole."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sophia_jax.paths import as_path, make_folder, open_for_library, write_durably
from sophia_jax.types import InputError

__all__ = [
    "CAPTIONS",
    "REASONINGS",
    "ROUTES",
    "SELECTION",
    "ShardedTable",
    "open_table",
]


def _required(name: str, column_type: pa.DataType) -> pa.Field:
    return pa.field(name, column_type, nullable=False)


_SAMPLE = [
    _required("prompt", pa.string()),
    _required("text", pa.string()),
    _required("token_ids", pa.list_(pa.int32())),
    pa.field("behavior_log_probs", pa.list_(pa.float32())),
    pa.field("policy_log_probs", pa.list_(pa.float32())),
    _required("finish_reason", pa.string()),
]

CAPTIONS = pa.schema(
    [
        _required("question_id", pa.string()),
        _required("caption", pa.int32()),
        *_SAMPLE,
        # Null: a caption's reward is known one stage later and stands in SELECTION.
        pa.field("reward", pa.float32()),
        _required("seed", pa.uint64()),
    ]
)
"""One row per caption; log-probabilities in nats, null where a server gives none."""

REASONINGS = pa.schema(
    [
        _required("question_id", pa.string()),
        _required("caption", pa.int32()),
        _required("reasoning", pa.int32()),
        *_SAMPLE,
        _required("verdict", pa.string()),
        # Null: the reasoning was stopped, and nobody knows.
        pa.field("reward", pa.float32()),
        _required("seed", pa.uint64()),
    ]
)
"""One row per reasoning; its verdict is right, wrong, undecided or unfinished."""

SELECTION = pa.schema(
    [
        _required("question_id", pa.string()),
        # Equal, but where reasonings were stopped: then the reward lies between them.
        _required("least_caption_rewards", pa.list_(pa.float32())),
        _required("most_caption_rewards", pa.list_(pa.float32())),
        _required("kept", pa.bool_()),
        _required("reason", pa.string()),
        pa.field("caption", pa.int32()),
        pa.field("reasoning", pa.int32()),
        pa.field("text", pa.string()),
        pa.field("num_tokens", pa.int32()),
        # Of the whole reasoning given its caption, in nats; null if a server gave none.
        pa.field("behavior_log_prob", pa.float64()),
        _required("reward", pa.float32()),
    ]
)
"""One row per question; the chosen trajectory's columns are null where none is kept."""

ROUTES = pa.schema(
    [
        _required("question_id", pa.string()),
        _required("verdicts", pa.list_(pa.string())),
        _required("solve_rate", pa.float32()),
        _required("route", pa.string()),
        _required("seed", pa.uint64()),
    ]
)
"""One row per question; verdicts are of the policy's own answers."""

_SHARD_NAME = re.compile(r"\d{5}-of-(\d{5})\.parquet")


@dataclass(frozen=True)
class ShardedTable:
    """A table in a folder of Parquet files, `00000-of-00012.parquet` and on.

    Attributes:
      folder: made by the first write; its name is the table's.
      schema: the exact columns, in order.
      num_shards: how many files make the table whole, in [1, 99999].

    Raises:
      ValueError: num_shards is out of range.
    """

    folder: Path
    schema: pa.Schema
    num_shards: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_shards <= 99999:
            raise ValueError(f"num_shards: expected 1 to 99999, got {self.num_shards}")

    def _path(self, shard: int) -> Path:
        if not 0 <= shard < self.num_shards:
            raise ValueError(f"shard: expected 0 to {self.num_shards - 1}, got {shard}")
        return self.folder / f"{shard:05d}-of-{self.num_shards:05d}.parquet"

    def missing(self) -> list[int]:
        """The shards that are not there yet, in ascending order.

        Returns:
          Their indices; empty when the table is whole.

        Raises:
          InputError: the folder holds shards of another total.
        """
        totals = _totals(self.folder)
        if totals - {self.num_shards}:
            raise InputError(
                f"{self.folder}: expected {self.num_shards} shards, got files of a "
                f"table of {max(totals - {self.num_shards})}"
            )
        shards = range(self.num_shards)
        return [shard for shard in shards if not self._path(shard).is_file()]

    def write(self, shard: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one shard, whole or not at all; the same rows give the same bytes.

        Args:
          shard: its index.
          rows: one mapping per row with exactly the schema's columns.

        Raises:
          ValueError: a column is missing or unknown, or a value does not fit it.
          InputError: the file cannot be written.
        """
        path = self._path(shard)
        content = pa.BufferOutputStream()
        pq.write_table(
            _to_table(rows, self.schema, self.folder.name),
            content,
            compression="zstd",
            write_page_checksum=True,
        )
        try:
            make_folder(self.folder)
            write_durably(path, content.getvalue())
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{path}: expected to write it, got {reason}") from error

    def read(self, shard: int) -> list[dict[str, Any]]:
        """The rows of one shard.

        Args:
          shard: its index.

        Returns:
          One dictionary per row, in the order in which they were written.

        Raises:
          InputError: the shard is not there, is damaged, or has other columns.
        """
        path = self._path(shard)
        with _opened(path) as file:
            columns, table = _columns(file.schema_arrow), file.read()
        if not table.schema.equals(self.schema):
            raise InputError(
                f"{path}: expected the columns {_columns(self.schema)}, got {columns}"
            )
        return table.to_pylist()

    def read_all(self) -> list[dict[str, Any]]:
        """The rows of all shards.

        Returns:
          One dictionary per row, shard after shard.

        Raises:
          InputError: a shard is not there, is damaged, or has other columns.
        """
        missing = self.missing()
        if missing:
            raise InputError(
                f"{self._path(missing[0])}: expected all {self.num_shards} shards, "
                f"got {self.num_shards - len(missing)}; this is the first one missing"
            )
        return [row for shard in range(self.num_shards) for row in self.read(shard)]


def open_table(folder: str | Path) -> ShardedTable:
    """A table that is already there, its columns and number of shards as found.

    Args:
      folder: of the shards.

    Returns:
      The table, whole or not.

    Raises:
      InputError: there is no shard, shards of several totals, or a damaged one.
    """
    folder = as_path(folder)
    totals = sorted(_totals(folder))
    if len(totals) != 1:
        found = f"totals {totals}" if totals else "none"
        raise InputError(f"{folder}: expected shards of one table, got {found}")
    first = min(path for path in folder.iterdir() if _SHARD_NAME.fullmatch(path.name))
    with _opened(first) as file:
        return ShardedTable(folder, file.schema_arrow, totals[0])


def _totals(folder: Path) -> set[int]:
    """The numbers of shards that the file names in the folder speak of."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return {int(match[1]) for match in map(_SHARD_NAME.fullmatch, names) if match}


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _to_table(
    rows: Sequence[Mapping[str, Any]], schema: pa.Schema, name: str
) -> pa.Table:
    for index, row in enumerate(rows):
        missing = [column for column in schema.names if column not in row]
        unknown = [column for column in row if column not in schema.names]
        if missing or unknown:
            raise ValueError(
                f"{name} row {index}: expected exactly the schema's columns, got "
                f"missing {missing} and unknown {unknown}"
            )
    columns = [_to_column([row[field.name] for row in rows], field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _to_column(values: list[Any], field: pa.Field) -> pa.Array:
    try:
        column = pa.array(values, type=field.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise ValueError(
            f"{field.name}: expected values of {field.type}, got {error}"
        ) from error
    if column.null_count and not field.nullable:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(f"{field.name}: expected no null, got one in row {row}")
    return column


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The shard's file; what is wrong with it becomes one line with its name."""
    # ParquetFile, since read_table takes folders named `seed=1` for columns.
    try:
        with (
            open_for_library(path) as readable,
            pq.ParquetFile(readable, page_checksum_verification=True) as file,
        ):
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: expected a written shard, got no file") from None
    # A ValueError: names in a damaged footer are not UTF-8.
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: expected a whole shard, got {reason}") from error
