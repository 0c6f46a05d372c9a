"""Of the rows that were read, the good ones; the others are named, never used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sophia_jax.data.fields import bad_field
from sophia_jax.data.images import load_image
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = ["ItemFile", "Row", "keep_good_rows"]


@dataclass(frozen=True)
class ItemFile:
    """What a question file holds.

    Attributes:
      items: the questions, in the file's order.
      skipped: one line for each bad row: file, line, field, rule, value.
    """

    items: tuple[Item, ...]
    skipped: tuple[str, ...]


class Row(NamedTuple):
    """One row that was read.

    Attributes:
      where: file and line, for messages.
      place: the line alone, as "line 3".
      content: the question, or what is wrong with it.
    """

    where: str
    place: str
    content: Item | str

    @classmethod
    def of(cls, where: str, place: str, make: Callable[..., Item], *given: Any) -> Row:
        """The row that `make` makes of what was given, or its refusal."""
        try:
            return cls(where, place, make(*given))
        except InputError as error:
            return cls(where, place, str(error))


def keep_good_rows(
    path: str | Path,
    rows: Iterable[Row],
    *,
    skip_bad_rows: bool,
    check_pictures: bool = True,
    track: Track = untracked,
) -> ItemFile:
    """Check that ids are unique and that every picture can be read.

    Args:
      path: the file, for messages.
      rows: all that it holds.
      skip_bad_rows: leave bad rows out and list them, instead of refusing the file.
      check_pictures: whether every picture is decoded once.
      track: shows how many pictures were read.

    Returns:
      The questions and the list of what was skipped.

    Raises:
      InputError: there is a bad row, or no good one.
    """
    rows = _check_ids(rows)
    if check_pictures:
        rows = _check_images(rows, track)
    items = tuple(row.content for row in rows if isinstance(row.content, Item))
    bad = tuple(
        f"{row.where}: {row.content}" for row in rows if isinstance(row.content, str)
    )
    if bad and not skip_bad_rows:
        others = f"and {len(bad) - 1} more bad rows; " if len(bad) > 1 else ""
        raise InputError(f"{bad[0]} ({others}--skip-bad-rows skips and lists them)")
    if not items:
        first = f"; the first: {bad[0]}" if bad else ""
        raise InputError(f"{path}: expected a good row, got {len(bad)} bad ones{first}")
    return ItemFile(items=items, skipped=bad)


def _check_ids(rows: Iterable[Row]) -> list[Row]:
    """Replace the items whose id another one had before them."""
    checked: list[Row] = []
    first_places: dict[str, str] = {}
    for row in rows:
        if isinstance(row.content, Item):
            first = first_places.setdefault(row.content.id, row.place)
            if first != row.place:
                error = bad_field(
                    "id", "a unique string", row.content.id, f"as in {first}"
                )
                row = row._replace(content=str(error))
        checked.append(row)
    return checked


def _check_images(rows: list[Row], track: Track) -> list[Row]:
    """Replace the items whose pictures cannot be read by what is wrong with them."""
    items = [row.content for row in rows if isinstance(row.content, Item)]
    paths = list(dict.fromkeys(path for item in items for path in item.images))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = track(pool.map(_image_error, paths), "pictures", len(paths))
        faults = dict(zip(paths, errors, strict=True))
    checked: list[Row] = []
    for row in rows:
        images = row.content.images if isinstance(row.content, Item) else ()
        bad = [faults[path] for path in images if faults[path]]
        checked.append(row._replace(content=bad[0]) if bad else row)
    return checked


def _image_error(path: str) -> str:
    try:
        load_image(path)
    except InputError as error:
        return str(error)
    return ""
