"""One row of questions, in whatever form it came: checked and read as an `Item`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sophia_jax.data.choices import (
    LETTERS,
    choice_answer,
    inline_options,
    option_lines,
    without_letters,
)
from sophia_jax.data.fields import (
    QUESTIONS,
    bad_field,
    first_given,
    is_number,
    is_text,
    optional_text,
)
from sophia_jax.data.markers import resolve_markers
from sophia_jax.data.preferences import PREFERENCES, make_preference
from sophia_jax.paths import is_remote
from sophia_jax.types import Item

__all__ = [
    "ANSWERS",
    "COLUMNS",
    "IMAGES",
    "OPTIONS",
    "QUESTIONS",
    "Use",
    "image_paths",
    "local_path",
    "make_item",
    "parse_row",
]

ANSWERS = ("answer", "final_answer")
IMAGES = ("image", "images")
IDS = ("id", "index")
OPTIONS = ("choices", "options")
KINDS = ("kind", "subject", "category", "l2-category")
LEVELS = ("level", "difficulty", "grade")
_NUMBER = re.compile(r"\$?\s*[-+]?(?:\d[\d,]*)?\.?\d+(?:[eE][-+]?\d+)?\s*\$?")
Use = Literal["ask", "imitate", "compare", "prefer"]
"""What rows are for: to be asked, with a picture and an answer to judge by, of a choice
its letter and value; to be imitated, word for word; to be compared with, when no answer
is looked at; or to be preferences, as of `make_preference`."""

COLUMNS = (
    *(*QUESTIONS, *ANSWERS, *IMAGES, *IDS, *OPTIONS, *KINDS, *LEVELS),
    *("hint", "context", "unit", "caption", *LETTERS, *PREFERENCES),
)
"""All fields that are looked at."""


def parse_row(
    line: bytes, folder: Path, *, row_name: str | None = None, use: Use = "ask"
) -> Item:
    """Read one line of a question file; its pictures are not looked at.

    Args:
      line: a JSON object in UTF-8.
      folder: what picture paths are relative to.
      row_name, use: as of `make_item`.

    Returns:
      The question.

    Raises:
      InputError: a field is missing, has another type, or breaks its rule.
    """
    row = _parse(line)

    def locate(field: str, value: Any) -> str:
        return local_path(field, value, folder)

    images = image_paths(row, locate, required=use == "ask")
    return make_item(row, images, row_name=row_name, use=use)


def make_item(
    row: Mapping[str, Any],
    images: Sequence[str],
    *,
    row_name: str | None = None,
    use: Use = "ask",
) -> Item:
    """A question from the fields of a row, whatever kind of file it stood in.

    The text is `hint`, `context`, `question` (or `prompt`) and the options, these as
    lines "A. ..." unless all of them are drawn in the picture, or the question ends
    with them as "(A) ... (B) ...". Options are `choices` (or `options`), a list, or the
    columns `A`, `B`, and so on, and lose a letter of their own. The answer is `answer`
    (or `final_answer`), a text, a number, or a list of one of these; of a question to
    be asked, a `final_answer` that is a number is followed by its `unit`.

    Args:
      row: its fields; others than `COLUMNS` are ignored.
      images: paths of its pictures, in their order.
      row_name: the id where the row has no field `id` (or `index`).
      use: what the row is for.

    Returns:
      The question, without image markers.

    Raises:
      InputError: a field is missing, has another type, or breaks its rule.
    """
    if use == "prefer":
        return make_preference(
            row, lambda flat: make_item(flat, images, row_name=row_name, use="imitate")
        )
    answer = "" if use == "compare" else _answer(row)
    options = _options(row)
    question, options = _texts(row, options, len(images))
    if use == "ask":
        answer = _with_unit(row, answer)
        found = options or inline_options(question)
        # Without a list of options, a letter that no such text has may be a variable.
        if options or (found and answer in LETTERS[: len(found)]):
            answer = choice_answer(answer, found)
    lines = [] if _is_inline(options, question) else option_lines(options)
    return Item(
        id=_id(row, row_name),
        question="\n".join([question, *lines]),
        answer=answer,
        images=tuple(images),
        kind=optional_text(row, *KINDS) or "",
        caption=optional_text(row, "caption"),
        level=_level(row),
    )


def image_paths(
    row: Mapping[str, Any], locate: Callable[[str, Any], str], *, required: bool = True
) -> tuple[str, ...]:
    """Where the pictures of a row are: of `image`, or of `images`, a list.

    Args:
      row: its fields.
      locate: gives the path for (name of the field, what it holds), or refuses it.
      required: whether a row without a picture is refused; else an empty text or
        list is no picture either.

    Returns:
      The paths, in the row's order.

    Raises:
      InputError: there is none, both fields are given, or one is refused.
    """
    given = [name for name in IMAGES if row.get(name) is not None]
    if not required:
        given = [name for name in given if not _is_empty(row[name])]
        if not given:
            return ()
    if len(given) != 1:
        value = [row[name] for name in given]
        raise bad_field("image", "a path, or `images` as a list of paths", value)
    (name,) = given
    value = row[name]
    if name == "image" and not isinstance(value, list):
        return (locate(name, value),)
    if not isinstance(value, list) or not value:
        rule = "a path" if name == "image" else "a list of paths"
        raise bad_field(name, rule, value)
    return tuple(locate(name, each) for each in value)


def local_path(field: str, value: Any, folder: Path) -> str:
    """A picture's path, as given or in the file's folder, never elsewhere beside it.

    Raises:
      InputError: it is no path, or one that leads out of the folder.
    """
    if not is_text(value):
        rule = "a path" if field == "image" else "a list of paths"
        raise bad_field(field, rule, value)
    if is_remote(value):
        return value
    if os.path.normpath(value).split(os.sep)[0] == os.pardir:
        raise bad_field(field, "a path inside the file's folder", value)
    return str(folder / value)


def _is_empty(value: Any) -> bool:
    return isinstance(value, str | bytes | list) and not value


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


def _id(row: Mapping[str, Any], row_name: str | None) -> str:
    if row_name is not None and not any(name in row for name in IDS):
        return row_name
    _, value = first_given(row, IDS)
    if isinstance(value, float) or not (is_text(value) or is_number(value)):
        raise bad_field("id", "a unique string", value)
    return str(value)


def _answer(row: Mapping[str, Any]) -> str:
    name, value = first_given(row, ANSWERS)
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if not (is_text(value) or is_number(value)):
        raise bad_field(name, "a non-empty string or a number", value)
    return str(value).strip()


def _with_unit(row: Mapping[str, Any], answer: str) -> str:
    """A `final_answer` that is a bare number, with its `unit` behind it.

    Beside `answer`, as in TabMWP, a unit tells how the answer is written: there it
    stays as it is.
    """
    name, _ = first_given(row, ANSWERS)
    unit = optional_text(row, "unit") if name == "final_answer" else None
    if unit is None or not _NUMBER.fullmatch(answer):
        return answer
    return f"{answer} {unit.strip()}"


def _level(row: Mapping[str, Any]) -> str:
    name, value = first_given(row, LEVELS)
    if value is None or value == "":
        return ""
    if not (is_text(value) or is_number(value)):
        raise bad_field(name, "a string, a number or nothing", value)
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if whole else value).strip()


def _options(row: Mapping[str, Any]) -> list[str]:
    """The options as they are written; none where the question has none."""
    name, options = first_given(row, OPTIONS)
    if options is None or options == "":
        return _lettered(row)
    if not isinstance(options, list) or not all(map(is_text, options)):
        raise bad_field(name, "a list of non-empty strings", options)
    if len(options) > len(LETTERS):
        raise bad_field(name, f"at most {len(LETTERS)} strings", options)
    return without_letters(options)


def _lettered(row: Mapping[str, Any]) -> list[str]:
    """The options of columns A, B, and so on; a row need not fill all of them."""
    if "A" not in row or "B" not in row:
        return []
    given = [letter for letter in LETTERS if row.get(letter) not in (None, "")]
    if given != list(LETTERS[: len(given)]):
        raise bad_field("options", "columns without a gap from A", given)
    options = [str(row[x]) if is_number(row[x]) else row[x] for x in given]
    if not all(map(is_text, options)):
        raise bad_field("options", "non-empty strings", options)
    return without_letters(options)


def _is_inline(options: list[str], question: str) -> bool:
    """Whether a question ends with these options, whatever blanks are in them."""
    found = [option.split() for option in inline_options(question)]
    return bool(found) and found == [option.split() for option in options]


def _texts(
    row: Mapping[str, Any], options: list[str], num_images: int
) -> tuple[str, list[str]]:
    """The question with its hint and context, and the options, all without markers."""
    name, value = first_given(row, QUESTIONS)
    if not is_text(value):
        raise bad_field(name, "a non-empty string", value)
    hint, context = (optional_text(row, name) for name in ("hint", "context"))
    context, question, *options = resolve_markers(
        [context or "", value, *options], num_images
    )
    if not question:
        raise bad_field(name, "words beside the image markers", value)
    before = ((hint or "").strip(), context, question)
    return "\n".join(filter(None, before)), options
