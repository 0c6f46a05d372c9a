"""One row of a question file: its fields checked and read as an `Item`."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import string
from pathlib import Path
from typing import Any

from sophia_jax.types import InputError, Item

__all__ = ["bad_field", "parse_row"]

_LINE_MARKER = re.compile(r"^(?:[ \t]*<image\d*>)+[ \t]*\n", re.MULTILINE)
_MARKER = re.compile(r"[ \t]*<image\d*>")
_VALUE = reprlib.Repr()
_VALUE.maxstring = _VALUE.maxother = 80


def parse_row(line: bytes, folder: Path) -> Item:
    """Read one line of a question file; its pictures are not looked at.

    Args:
      line: a JSON object in UTF-8.
      folder: what picture paths are relative to.

    Returns:
      The question, its choices appended and its image markers removed.

    Raises:
      InputError: a field is missing, has another type, or breaks its rule.
    """
    row = _parse(line)
    return Item(
        id=_id(row),
        question=_question(row),
        answer=_answer(row),
        images=_images(row, folder),
        kind=_optional_text(row, "kind") or _optional_text(row, "subject") or "",
        caption=_optional_text(row, "caption"),
    )


def bad_field(field: str, rule: str, value: Any, note: str = "") -> InputError:
    """The error that names a row's field, its rule and its value in one line.

    Args:
      field: its name in the row.
      rule: what was expected of it.
      value: what it holds; a long one is shown shortened.
      note: what else there is to say.

    Returns:
      The error, to be raised.
    """
    tail = f" ({note})" if note else ""
    return InputError(f"{field}: expected {rule}, got {_VALUE.repr(value)}{tail}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise bad_field("row", "UTF-8", line, error.reason) from None
    except (ValueError, RecursionError) as error:
        text, note = line.decode("utf-8").strip(), str(getattr(error, "msg", error))
        raise bad_field("row", "a JSON object", text, note) from None
    if not isinstance(row, dict):
        raise bad_field("row", "a JSON object", row)
    return row


def _is_text(value: Any) -> bool:
    """Whether it is a string with something in it that UTF-8 can hold."""
    if not isinstance(value, str) or not value.strip():
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _id(row: dict[str, Any]) -> str:
    value = row.get("id")
    if isinstance(value, float) or not (_is_text(value) or _is_number(value)):
        raise bad_field("id", "a unique string", value)
    return str(value)


def _answer(row: dict[str, Any]) -> str:
    value = row.get("answer")
    if not (_is_text(value) or _is_number(value)):
        raise bad_field("answer", "a non-empty string or a number", value)
    return str(value).strip()


def _optional_text(row: dict[str, Any], field: str) -> str | None:
    value = row.get(field)
    if value is None or value == "":
        return None
    if not _is_text(value):
        raise bad_field(field, "a string or nothing", value)
    return value


def _without_markers(text: str) -> str:
    return _MARKER.sub("", _LINE_MARKER.sub("", text)).strip()


def _question(row: dict[str, Any]) -> str:
    value = row.get("question")
    if not _is_text(value):
        raise bad_field("question", "a non-empty string", value)
    question = _without_markers(value)
    if not question:
        raise bad_field("question", "words beside the image markers", value)
    return "\n".join([question, *_choice_lines(row)])


def _choice_lines(row: dict[str, Any]) -> list[str]:
    choices = row.get("choices")
    if choices is None:
        return []
    letters = string.ascii_uppercase
    if not isinstance(choices, list) or not all(map(_is_text, choices)):
        raise bad_field("choices", "a list of non-empty strings", choices)
    if len(choices) > len(letters):
        raise bad_field("choices", f"at most {len(letters)} strings", choices)
    texts = [_without_markers(choice) for choice in choices]
    pairs = list(zip(letters, texts, strict=False))
    if all(text in ("", letter) for letter, text in pairs):
        return []
    return [f"{letter}. {text}".rstrip() for letter, text in pairs]


def _images(row: dict[str, Any], folder: Path) -> tuple[str, ...]:
    given = [name for name in ("image", "images") if row.get(name) is not None]
    if len(given) != 1:
        value = [row[name] for name in given]
        raise bad_field("image", "a path, or `images` as a list of paths", value)
    value = row[given[0]]
    paths = [value] if given[0] == "image" else value
    if not isinstance(paths, list) or not paths or not all(map(_is_text, paths)):
        rule = "a path" if given[0] == "image" else "a list of paths"
        raise bad_field(given[0], rule, value)
    for path in paths:
        if os.path.normpath(path).split(os.sep)[0] == os.pardir:
            raise bad_field(given[0], "a path inside the file's folder", path)
    return tuple(str(folder / path) for path in paths)
