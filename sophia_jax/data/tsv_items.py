"""Questions in the TSV files of VLMEvalKit, with their pictures in base64."""

from __future__ import annotations

import ast
import base64
import binascii
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sophia_jax.data.fields import bad_field
from sophia_jax.data.good_rows import Row
from sophia_jax.data.item_rows import OPTIONS, Use, local_path, make_item
from sophia_jax.data.picture_store import PictureStore
from sophia_jax.data.table_items import check_columns
from sophia_jax.types import InputError, Item

__all__ = ["read_tsv"]

MAX_FIELD = 2**28  # characters, of one cell with all its pictures
MAX_REFERENCE = 64  # characters: no picture is so short
MAX_LITERAL = 100_000  # characters, of a list of options in Python's spelling
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")

Pictures = tuple[str, ...] | str | InputError  # paths, another row's index, or a fault


def read_tsv(path: Path, store: PictureStore, *, use: Use = "ask") -> Iterator[Row]:
    """Every row of a TSV file, as it is or with what is wrong with it.

    Columns are `index`, `question`, `answer` and `image`; and as there are any, `A`,
    `B`, and so on or a list `choices`, `hint`, `category` and others of `make_item`.
    An image is base64, a list of such, or the index of the row whose pictures it
    shares; or there is `image_path`, a path or a list of them. Empty cells and "nan"
    hold nothing.

    Args:
      path: of the file.
      store: unpacks the pictures.
      use: as of `make_item`.

    Yields:
      The rows, once the whole file has been read: a row may refer to a later one.

    Raises:
      InputError: the file is no TSV file, or lacks a column.
    """
    rows = [
        (line, row, row if isinstance(row, InputError) else _pictures(row, path, store))
        for line, row in _records(path, use)
    ]
    by_index: dict[str, Pictures] = {}
    for _, row, pictures in rows:
        if not isinstance(row, InputError) and "index" in row:
            by_index.setdefault(row["index"], pictures)
    for number, (line, row, pictures) in enumerate(rows):
        make = _maker(row, pictures, by_index, number, use)
        yield Row.of(f"{path}:{line}", f"line {line}", make)


def _maker(
    row: dict[str, Any] | InputError,
    pictures: Pictures,
    by_index: Mapping[str, Pictures],
    number: int,
    use: Use,
) -> Callable[[], Item]:
    def make() -> Item:
        if isinstance(row, InputError):
            raise row
        found = pictures
        if isinstance(found, str):
            found = by_index.get(found)
            if found is None or isinstance(found, str):
                rule = "base64, or the index of a row that has it"
                raise bad_field("image", rule, pictures)
        if isinstance(found, InputError):
            raise found
        if not found and use == "ask":
            raise bad_field("image", "base64, or the index of a row that has it", "")
        lists = {name: _as_list(name, row[name]) for name in OPTIONS if name in row}
        if "final_answer" in row:
            given = row["final_answer"]
            lists["final_answer"] = _as_list("final_answer", given, alone=True)
        return make_item(row | lists, found, row_name=str(number), use=use)

    return make


def _records(path: Path, use: Use) -> Iterator[tuple[int, dict[str, Any] | InputError]]:
    """The first line of each row, and its cells that hold something, by column."""
    limit = csv.field_size_limit(MAX_FIELD)
    reader = None
    try:
        with (
            path.open("rb") as binary,
            io.TextIOWrapper(
                binary, encoding="utf-8-sig", errors="surrogateescape", newline=""
            ) as file,
        ):
            reader = csv.reader(file, delimiter="\t", strict=True)
            columns = next(reader, [])
            check_columns(path, columns, use=use, images=("image", "image_path"))
            if twice := {name for name in columns if columns.count(name) > 1}:
                raise InputError(f"{path}: expected each column once, got {min(twice)}")
            line = reader.line_num + 1
            for cells in reader:
                if cells:
                    yield line, _record(columns, cells)
                line = reader.line_num + 1
    except OSError as error:
        raise InputError(
            f"{path}: expected a TSV file ({error.strerror or error})"
        ) from error
    except csv.Error as error:  # what follows cannot be told apart
        raise InputError(
            f"{path}:{reader.line_num}: row: expected tab-separated cells, got: {error}"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _record(columns: list[str], cells: list[str]) -> dict[str, Any] | InputError:
    if len(cells) != len(columns):
        return bad_field("row", f"{len(columns)} cells", len(cells))
    return {
        name: "" if cell.casefold() == "nan" else cell
        for name, cell in zip(columns, cells, strict=True)
    }


def _pictures(row: dict[str, Any], path: Path, store: PictureStore) -> Pictures:
    """What the cells `image` or `image_path` say; they leave the row."""
    cell, image_path = row.pop("image", ""), row.pop("image_path", "")
    try:
        if cell and len(cell) <= MAX_REFERENCE:
            return cell
        if cell:
            return tuple(
                store.path_of("image", _decode(each))
                for each in _as_list("image", cell, alone=True)
            )
        return tuple(
            local_path("image_path", each, path.parent)
            for each in _as_list("image_path", image_path, alone=True)
        )
    except InputError as error:
        return error


def _decode(text: Any) -> bytes:
    if not isinstance(text, str):
        raise bad_field("image", "base64", text)
    try:
        text = "".join(_DATA_URL.sub("", text, count=1).split())
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_field("image", "base64", text, str(error)) from None


def _as_list(name: str, cell: str, *, alone: bool = False) -> list[Any]:
    """A list as JSON or Python spells it; of what is `alone`, a list of that."""
    if not cell.startswith("["):
        if alone or not cell:
            return [cell] if cell else []
        raise bad_field(name, "a list", cell)
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        found = _python_list(name, cell)
    if not isinstance(found, list):
        raise bad_field(name, "a list", cell)
    return found


def _python_list(name: str, cell: str) -> Any:
    # Base64 has no quotes: such a list differs from JSON's in these alone.
    if len(cell) > MAX_LITERAL:
        try:
            return json.loads(cell.replace("'", '"'))
        except (ValueError, RecursionError):
            raise bad_field(name, "a list", cell) from None
    try:
        return ast.literal_eval(cell)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise bad_field(name, "a list", cell) from None
