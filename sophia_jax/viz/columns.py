"""Columns of Parquet files, one file at a time, since texts may fill a disk."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sophia_jax.paths import open_for_library
from sophia_jax.rollouts.store import open_table
from sophia_jax.types import InputError

__all__ = ["Shards", "find_shards", "read_columns", "rows_about", "some_columns"]


@dataclass(frozen=True)
class Shards:
    """The files of a table that are there, in order, of so many that make it whole."""

    name: str
    paths: tuple[Path, ...] = ()
    num_shards: int = 0


def find_shards(folder: Path) -> Shards:
    """The shards of a table; none where there is no table.

    Args:
      folder: of the table.

    Returns:
      Its files.

    Raises:
      InputError: the folder holds shards of several tables, or a damaged one.
    """
    if not any(folder.glob("*.parquet")):
        return Shards(folder.name)
    table = open_table(folder)
    missing = set(table.missing())
    total = table.num_shards
    names = [f"{shard:05d}-of-{total:05d}.parquet" for shard in range(total)]
    there = [folder / name for i, name in enumerate(names) if i not in missing]
    return Shards(folder.name, tuple(there), total)


def some_columns(schema: pa.Schema, *names: str) -> pa.Schema:
    """A part of a table's schema."""
    return pa.schema([schema.field(name) for name in names])


def read_columns(path: Path, schema: pa.Schema) -> pa.Table:
    """Some columns of a file.

    Args:
      path: of a Parquet file.
      schema: the columns, and the types that they are cast to.

    Returns:
      These columns.

    Raises:
      InputError: the file is damaged, lacks a column, or a column does not fit.
    """
    try:
        # ParquetFile, since read_table takes folders named `seed=1` for columns.
        with open_for_library(path) as readable, pq.ParquetFile(readable) as file:
            missing = set(schema.names) - set(file.schema_arrow.names)
            if missing:
                raise ValueError(f"no column {', '.join(sorted(missing))}")
            return file.read(columns=schema.names).select(schema.names).cast(schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        rule = f"{path}: expected a Parquet file with {', '.join(schema.names)}"
        raise InputError(f"{rule}; got {reason}") from error


def rows_about(
    paths: Sequence[Path], schema: pa.Schema, question_ids: Collection[str]
) -> Iterator[dict]:
    """The rows of a few questions.

    Args:
      paths: of the files to look through.
      schema: the columns wanted; `question_id` is among them.
      question_ids: of the questions.

    Yields:
      One dictionary per row, in the files' order.

    Raises:
      InputError: as `read_columns`.
    """
    wanted = pa.array(sorted(question_ids), pa.string())
    key = pa.schema([schema.field("question_id")])
    for path in paths:
        found = pc.is_in(read_columns(path, key)["question_id"], value_set=wanted)
        if pc.any(found).as_py():
            yield from read_columns(path, schema).filter(found).to_pylist()
