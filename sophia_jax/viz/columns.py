"""Columns of Parquet files, one file at a time, since texts may fill a disk."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sophia_jax.paths import open_for_library
from sophia_jax.rollouts.store import open_table
from sophia_jax.types import InputError

__all__ = ["Shards", "find_shards", "iterate_rows", "read_columns", "some_columns"]

ROWS_HELD = 1_024


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
    with _opened(path, schema) as file:
        return file.read(columns=schema.names).select(schema.names).cast(schema)


def iterate_rows(
    path: Path, schema: pa.Schema, *, may_lack: Collection[str] = ()
) -> Iterator[dict]:
    """The rows of a file, of which few are held in memory.

    Args:
      path: of a Parquet file.
      schema: the columns wanted, and the types that they are cast to.
      may_lack: columns without which it will do; they are None.

    Yields:
      One dictionary per row, in the file's order.

    Raises:
      InputError: as `read_columns`.
    """
    with _opened(path, schema, may_lack) as file:
        there = [name for name in schema.names if name in file.schema_arrow.names]
        lacking = dict.fromkeys(set(schema.names) - set(there))
        for batch in file.iter_batches(ROWS_HELD, columns=there):
            table = pa.Table.from_batches([batch]).select(there)
            for row in table.cast(some_columns(schema, *there)).to_pylist():
                yield lacking | row


@contextlib.contextmanager
def _opened(
    path: Path, schema: pa.Schema, may_lack: Collection[str] = ()
) -> Iterator[pq.ParquetFile]:
    """The file; what is wrong with it becomes one line with its name."""
    try:
        # ParquetFile, since read_table takes folders named `seed=1` for columns.
        with open_for_library(path) as readable, pq.ParquetFile(readable) as file:
            known = {*file.schema_arrow.names, *may_lack}
            if missing := set(schema.names) - known:
                raise ValueError(f"no column {', '.join(sorted(missing))}")
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        rule = f"{path}: expected a Parquet file with {', '.join(schema.names)}"
        raise InputError(f"{rule}; got {reason}") from error
