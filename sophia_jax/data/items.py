"""Question files: one JSON object a line, beside the pictures that it names."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from sophia_jax.data.fields import bad_field
from sophia_jax.data.good_rows import ItemFile, Row, keep_good_rows
from sophia_jax.data.item_rows import Use, parse_row
from sophia_jax.paths import as_path, is_whole, uploaded, whole_folder
from sophia_jax.types import InputError, Item

__all__ = ["FILE_NAME", "ItemFile", "read_items", "read_lines", "write_items"]

FILE_NAME = "items.jsonl"


def read_items(path: str | Path, *, skip_bad_rows: bool = False) -> ItemFile:
    """Read questions with their pictures, and check every row and every picture.

    A row holds `id`, `question`, `answer` and `image` (or `images`, a list), and it
    may hold what else `make_item` looks at. Picture paths are relative to the file's
    folder.

    Args:
      path: an `items.jsonl` file, or the folder of one.
      skip_bad_rows: leave bad rows out and list them, instead of refusing the file.

    Returns:
      The questions and the list of what was skipped.

    Raises:
      InputError: there is no such file, it has a bad row, or it has no good one.
    """
    path = as_path(path)
    path = path / FILE_NAME if path.is_dir() else path
    return keep_good_rows(path, read_lines(path), skip_bad_rows=skip_bad_rows)


def read_lines(path: Path, *, use: Use = "ask") -> Iterator[Row]:
    """Every line of an `items.jsonl` file, as it is or with what is wrong with it.

    Args:
      path: of the file.
      use: as of `make_item`.

    Yields:
      A row for each line that is not empty.

    Raises:
      InputError: the file cannot be read.
    """

    def parse(line: bytes, number: int) -> Item:
        # Sets of preferences seldom have ids.
        name = str(number) if use == "prefer" else None
        return parse_row(line, path.parent, row_name=name, use=use)

    for number, line in _lines(path):
        yield Row.of(f"{path}:{number}", f"line {number}", parse, line, number)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for line_number, line in enumerate(file, start=1):
                line = line.removeprefix(codecs.BOM_UTF8 if line_number == 1 else b"")
                if line.strip():
                    yield line_number, line
    except OSError as error:
        rule = f"{path}: expected an {FILE_NAME} file or the folder of one"
        raise InputError(f"{rule} ({error.strerror or error})") from error


def write_items(
    folder: str | Path, items_with_images: Iterable[tuple[Item, Image.Image]]
) -> Path:
    """Write questions and their pictures as a folder that `read_items` reads.

    The folder appears when all of it has been written. Pictures are PNG files named
    by the percent-encoded id; `Item.images` is not looked at.

    Args:
      folder: where to; must not exist.
      items_with_images: each question with its one picture, taken one at a time.

    Returns:
      The path of the written `items.jsonl`.

    Raises:
      InputError: the folder exists or cannot be written, an id occurs twice, or there
        is no question.
    """
    folder = as_path(folder)
    if is_whole(folder):
        raise InputError(
            f"folder: expected one that does not exist, got {str(folder)!r}"
        )
    try:
        with (
            whole_folder(folder, alone=True) as partial,
            uploaded(partial) as local,
        ):
            (local / "images").mkdir()
            _write_rows(local, items_with_images)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder}: expected to write it, got {reason}") from error
    return folder / FILE_NAME


def _write_rows(
    folder: Path, items_with_images: Iterable[tuple[Item, Image.Image]]
) -> None:
    ids: set[str] = set()
    with (folder / FILE_NAME).open("w", encoding="utf-8", newline="\n") as file:
        for item, image in items_with_images:
            if item.id in ids:
                raise bad_field("id", "a unique string", item.id)
            ids.add(item.id)
            name = f"images/{quote(item.id, safe='')}.png"
            image.save(folder / name)
            row = {"id": item.id, "question": item.question, "answer": item.answer}
            row |= {"image": name, "kind": item.kind}
            row |= {} if item.caption is None else {"caption": item.caption}
            row |= {"level": item.level} if item.level else {}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    if not ids:
        raise InputError("items_with_images: expected at least one question, got none")
