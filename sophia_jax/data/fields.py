"""Fields of untrusted rows: what is text, what a number, and what is neither."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from sophia_jax.types import InputError

__all__ = [
    "QUESTIONS",
    "bad_field",
    "first_given",
    "is_number",
    "is_text",
    "optional_text",
]

QUESTIONS = ("question", "prompt")

_VALUE = reprlib.Repr()
_VALUE.maxstring = _VALUE.maxother = 80


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


def is_text(value: Any) -> bool:
    """Whether it is a string with something in it that UTF-8 can hold."""
    if not isinstance(value, str) or not value.strip():
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def is_number(value: Any) -> bool:
    """Whether it is an integer or a finite float."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def first_given(row: Mapping[str, Any], names: Iterable[str]) -> tuple[str, Any]:
    """The first of these fields that holds something, and what; else that is there."""
    names = tuple(names)
    there = [name for name in names if name in row] or names[:1]
    filled = [name for name in there if row.get(name) not in (None, "")]
    name = (filled or there)[0]
    return name, row.get(name)


def optional_text(row: Mapping[str, Any], *names: str) -> str | None:
    """The text of the first of these fields that holds something; None without.

    Raises:
      InputError: it holds something else.
    """
    name, value = first_given(row, names)
    if value is None or value == "":
        return None
    if not is_text(value):
        raise bad_field(name, "a string or nothing", value)
    return value
