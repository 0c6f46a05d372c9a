"""Question files: one JSON object a line, beside the pictures that it names."""

from __future__ import annotations

import codecs
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from sophia_jax.data.images import load_image
from sophia_jax.data.item_rows import bad_field, parse_row
from sophia_jax.types import InputError, Item

__all__ = ["ItemFile", "read_items", "write_items"]

_FILE_NAME = "items.jsonl"


@dataclass(frozen=True)
class ItemFile:
    """What a question file holds.

    Attributes:
      items: the questions, in the file's order.
      skipped: one line for each bad row: file, line, field, rule, value.
    """

    items: tuple[Item, ...]
    skipped: tuple[str, ...]


def read_items(path: str | Path, *, skip_bad_rows: bool = False) -> ItemFile:
    """Read questions with their pictures, and check every row and every picture.

    A row holds `id`, `question`, `answer` and `image` (or `images`, a list), and it
    may hold `choices`, `kind` (or `subject`) and `caption`; other fields are ignored.
    Picture paths are relative to the file's folder. Choices follow the question as
    lines "A. ...", unless all of them are drawn in the picture: each its bare letter
    or a mere `<image>` marker.

    Args:
      path: an `items.jsonl` file, or the folder of one.
      skip_bad_rows: leave bad rows out and list them, instead of refusing the file.

    Returns:
      The questions and the list of what was skipped.

    Raises:
      InputError: there is no such file, it has a bad row, or it has no good one.
    """
    path = Path(path)
    path = path / _FILE_NAME if path.is_dir() else path
    rows = _check_images(_read_rows(path))
    items = tuple(row for _, row in rows if isinstance(row, Item))
    bad = tuple(f"{path}:{line}: {row}" for line, row in rows if isinstance(row, str))
    if bad and not skip_bad_rows:
        others = f"and {len(bad) - 1} more bad rows; " if len(bad) > 1 else ""
        raise InputError(f"{bad[0]} ({others}--skip-bad-rows skips and lists them)")
    if not items:
        first = f"; the first: {bad[0]}" if bad else ""
        raise InputError(f"{path}: expected a good row, got {len(bad)} bad ones{first}")
    return ItemFile(items=items, skipped=bad)


def _read_rows(path: Path) -> list[tuple[int, Item | str]]:
    """The line number and the item, or what is wrong with it, of every row."""
    rows: list[tuple[int, Item | str]] = []
    first_lines: dict[str, int] = {}
    for line_number, line in _lines(path):
        try:
            item = parse_row(line, path.parent)
            first = first_lines.setdefault(item.id, line_number)
            if first != line_number:
                raise bad_field("id", "a unique string", item.id, f"as in line {first}")
            rows.append((line_number, item))
        except InputError as error:
            rows.append((line_number, str(error)))
    return rows


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for line_number, line in enumerate(file, start=1):
                line = line.removeprefix(codecs.BOM_UTF8 if line_number == 1 else b"")
                if line.strip():
                    yield line_number, line
    except OSError as error:
        rule = f"{path}: expected an {_FILE_NAME} file or the folder of one"
        raise InputError(f"{rule} ({error.strerror})") from error


def _check_images(rows: list[tuple[int, Item | str]]) -> list[tuple[int, Item | str]]:
    """Replace the items whose pictures cannot be read by what is wrong with them."""
    items = [row for _, row in rows if isinstance(row, Item)]
    paths = list(dict.fromkeys(path for item in items for path in item.images))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = dict(zip(paths, pool.map(_image_error, paths), strict=True))
    checked: list[tuple[int, Item | str]] = []
    for line_number, row in rows:
        images = row.images if isinstance(row, Item) else ()
        faults = [errors[path] for path in images if errors[path]]
        checked.append((line_number, faults[0] if faults else row))
    return checked


def _image_error(path: str) -> str:
    try:
        load_image(path)
    except InputError as error:
        return str(error)
    return ""


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
    folder = Path(folder)
    if folder.exists():
        raise InputError(
            f"folder: expected one that does not exist, got {str(folder)!r}"
        )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "images").mkdir(parents=True)
        _write_rows(partial, items_with_images)
        partial.rename(folder)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder}: expected to write it, got {reason}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder / _FILE_NAME


def _write_rows(
    folder: Path, items_with_images: Iterable[tuple[Item, Image.Image]]
) -> None:
    ids: set[str] = set()
    with (folder / _FILE_NAME).open("w", encoding="utf-8", newline="\n") as file:
        for item, image in items_with_images:
            if item.id in ids:
                raise bad_field("id", "a unique string", item.id)
            ids.add(item.id)
            name = f"images/{quote(item.id, safe='')}.png"
            image.save(folder / name)
            row = {"id": item.id, "question": item.question, "answer": item.answer}
            row |= {"image": name, "kind": item.kind}
            row |= {} if item.caption is None else {"caption": item.caption}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    if not ids:
        raise InputError("items_with_images: expected at least one question, got none")
