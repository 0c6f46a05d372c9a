"""Questions in Parquet files, and in folders that Hugging Face `datasets` saved."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from sophia_jax.data.fields import bad_field
from sophia_jax.data.good_rows import Row
from sophia_jax.data.item_rows import (
    ANSWERS,
    COLUMNS,
    IMAGES,
    QUESTIONS,
    Use,
    image_paths,
    local_path,
    make_item,
)
from sophia_jax.data.picture_store import PictureStore
from sophia_jax.data.preferences import CHOSEN, REJECTED
from sophia_jax.paths import is_remote, open_for_library
from sophia_jax.types import InputError, Item

__all__ = [
    "check_columns",
    "count_rows",
    "find_arrow_files",
    "find_parquet_files",
    "read_tables",
]

ROWS_AT_ONCE = 64  # which may hold pictures of megabytes
_FILES = "_data_files"  # of a saved folder's state
_SHARD = re.compile(r"[-_.]?\d+(-of-\d+)?(-[0-9a-f]+)?$")


def find_parquet_files(path: Path) -> list[Path]:
    """The Parquet files of a folder, of one split; or a file, as it is.

    Args:
      path: a file; or a folder with files beside each other, or in `data`.

    Returns:
      The files in the order of their names; none where the folder has none.

    Raises:
      InputError: the folder holds several splits.
    """
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
    return _of_one_split(path, files)


def find_arrow_files(path: Path) -> list[Path]:
    """The Arrow files of a folder that `save_to_disk` of `datasets` wrote.

    Raises:
      InputError: it holds several splits, or its `state.json` is damaged.
    """
    if (path / "dataset_dict.json").is_file():
        splits = sorted(each.parent.name for each in path.glob("*/state.json"))
        raise InputError(
            f"{path}: expected the folder of one split, got one of {', '.join(splits)}"
        )
    state = path / "state.json"
    if not state.is_file():
        return _of_one_split(path, sorted(path.glob("*.arrow")))
    try:
        names = [each["filename"] for each in json.loads(state.read_bytes())[_FILES]]
        if not all(name == Path(name).name for name in names):
            raise ValueError(f"files elsewhere: {names}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{state}: expected {_FILES}, the names of the folder's files, got "
            f"{error!r}"
        ) from error
    return [path / name for name in names]


def _of_one_split(path: Path, files: list[Path]) -> list[Path]:
    """The files, whose names differ in their numbers alone."""
    splits = {
        f"{file.parent / _SHARD.sub('', file.stem)}*{file.suffix}" for file in files
    }
    if len(splits) > 1:
        each = ", ".join(sorted(splits))
        raise InputError(f"{path}: expected files of one split, got {each}")
    return files


def read_tables(
    files: Sequence[Path], store: PictureStore, *, use: Use = "ask"
) -> Iterator[Row]:
    """Every row of Parquet or Arrow files, as it is or with what is wrong with it.

    Pictures are encoded bytes, the `{"bytes", "path"}` of `datasets`, or paths in the
    folder of the file. Numbers that `datasets` gave names (`ClassLabel`) are read as
    these. Rows without `id` and `index` are named by their number, from 0.

    Args:
      files: of one data set, in its order.
      store: unpacks the pictures.
      use: as of `make_item`.

    Yields:
      The rows.

    Raises:
      InputError: a file is damaged, or lacks a column.
    """
    number = 0
    for file in files:
        for row in _rows(file, use):
            name = f"row {number}"
            yield Row.of(f"{file}: {name}", name, _item, row, file, number, store, use)
            number += 1


def count_rows(files: Sequence[Path]) -> int:
    """Rows of Parquet files, as these note them; 0 where one does not."""
    if any(file.suffix != ".parquet" for file in files):
        return 0
    try:
        return sum(map(_num_rows, files))
    except (pa.ArrowException, OSError):
        return 0


def _num_rows(file: Path) -> int:
    with open_for_library(file) as readable:
        return pq.read_metadata(readable).num_rows


def check_columns(
    path: str | Path,
    names: Sequence[str],
    *,
    use: Use = "ask",
    images: Sequence[str] = IMAGES,
) -> None:
    """Refuse a table that has no column for a question, an answer or its picture.

    Args:
      path: of the table, for messages.
      names: of its columns.
      use: as of `make_item`.
      images: the columns that may hold pictures.

    Raises:
      InputError: names what is missing and what there is.
    """
    wanted = [QUESTIONS]
    wanted += [ANSWERS] if use != "compare" else []
    if use == "prefer":  # whose prompt may stand in the chosen chat
        wanted = [(CHOSEN,), (REJECTED,)]
    wanted += [images] if use == "ask" else []
    wanted = {" or ".join(columns): set(columns) for columns in wanted}
    missing = [name for name, columns in wanted.items() if not columns & set(names)]
    if missing:
        raise InputError(
            f"{path}: expected columns {', '.join(wanted)}, got no "
            f"{' and no '.join(missing)} among {', '.join(map(repr, names))}"
        )


def _item(
    row: Mapping[str, Any] | InputError,
    file: Path,
    number: int,
    store: PictureStore,
    use: Use,
) -> Item:
    if isinstance(row, InputError):
        raise row

    def locate(field: str, value: Any) -> str:
        if isinstance(value, dict):
            content, path = value.get("bytes"), value.get("path")
            value = path if content is None else content
        if isinstance(value, bytes):
            return store.path_of(field, value)
        return local_path(field, value, file.parent)

    images = image_paths(row, locate, required=use == "ask")
    return make_item(row, images, row_name=str(number), use=use)


def _rows(file: Path, use: Use) -> Iterator[Mapping[str, Any] | InputError]:
    try:
        with contextlib.ExitStack() as stack:
            schema, batches = _open(file, stack)
            check_columns(file, schema.names, use=use)
            names = _class_labels(schema)
            for batch in batches:
                for row in _to_python(batch):
                    if not isinstance(row, InputError):
                        row |= _named(row, names)
                    yield row
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        kind = "a Parquet" if file.suffix == ".parquet" else "an Arrow"
        raise InputError(f"{file}: expected {kind} file, got: {reason}") from error


def _open(
    file: Path, stack: contextlib.ExitStack
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The columns that are looked at, a few rows at a time."""
    if file.suffix == ".parquet":
        readable = stack.enter_context(open_for_library(file))
        table = stack.enter_context(pq.ParquetFile(readable))
        schema = table.schema_arrow
        columns = [name for name in schema.names if name in COLUMNS]
        return schema, table.iter_batches(ROWS_AT_ONCE, columns=columns)
    source = stack.enter_context(
        open_for_library(file) if is_remote(file) else pa.memory_map(str(file))
    )
    reader = stack.enter_context(pa.ipc.open_stream(source))
    return reader.schema, _slices(reader)


def _slices(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    columns = [name for name in reader.schema.names if name in COLUMNS]
    for batch in reader:
        batch = batch.select(columns)
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield batch.slice(start, ROWS_AT_ONCE)


def _to_python(batch: pa.RecordBatch) -> list[dict[str, Any] | InputError]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:  # text that is no UTF-8
        if batch.num_rows == 1:
            return [bad_field("row", "UTF-8", error.object, error.reason)]
        return [
            row
            for index in range(batch.num_rows)
            for row in _to_python(batch.slice(index, 1))
        ]


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of each column's numbers, as `datasets` notes them in the schema."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = noted["info"]["features"]
        return {
            column: list(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _named(row: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, str]:
    """The numbers of a row that have names, by these."""
    return {
        column: labels[row[column]]
        for column, labels in names.items()
        if isinstance(row.get(column), int) and 0 <= row[column] < len(labels)
    }
