"""What the builders of published benchmarks share: their official files as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from sophia_jax.data.fields import bad_field, is_number, is_text
from sophia_jax.types import InputError

__all__ = ["check_splits", "encoded_row", "json_rows", "question_features"]


def question_features(*extra: str) -> tfds.features.FeaturesDict:
    """The fields that all benchmarks have, and further texts.

    Args:
      extra: their names; an empty text stands for none.
    """
    text = tfds.features.Text()
    return tfds.features.FeaturesDict(
        {
            "id": text,
            "image": tfds.features.Image(shape=(None, None, None)),
            "question": text,
            "choices": tfds.features.Sequence(text),
            "answer": text,
            "subject": text,
            "level": text,
        }
        | dict.fromkeys(extra, text)
    )


def check_splits(folder: Path, files: Mapping[str, Path]) -> dict[str, Path]:
    """The splits whose file is there.

    Args:
      folder: with the official files, for messages.
      files: of each split.

    Returns:
      Some of them.

    Raises:
      InputError: none of them is there.
    """
    there = {split: path for split, path in files.items() if path.is_file()}
    if not there:
        names = ", ".join(str(path.relative_to(folder)) for path in files.values())
        raise InputError(f"{folder}: expected one of {names}, got none")
    return there


def json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a JSON object that holds them by their keys, or of JSON lines.

    Args:
      path: a `.json` or a `.jsonl` file.

    Yields:
      Where each row stands, for messages, and the row; of an object with its key as
      `key`.

    Raises:
      InputError: the file cannot be read so.
    """
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".jsonl":
            lines = enumerate(text.splitlines(), start=1)
            rows = [(f"{path}:{n}", json.loads(line)) for n, line in lines if line]
        else:
            rows = [
                (f"{path}: {key}", row | {"key": key})
                for key, row in json.loads(text).items()
            ]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: expected JSON rows, got: {error}") from error
    for where, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{where}: {bad_field('row', 'an object', row)}")
        yield where, row


def encoded_row(
    where: str, row: Mapping[str, Any], picture: Path, *extra: str
) -> dict[str, Any]:
    """A row of `question_features`; the picture's bytes stay as they are.

    Args:
      where: it stands, for messages.
      row: its fields, as `id`, `question`, `choices`, `answer`, `subject`, `level` and
        the extra ones; `choices` and the extra ones may be None.
      picture: the path of its picture.
      extra: as of `question_features`.

    Returns:
      The row, to be written.

    Raises:
      InputError: a field is missing or of another type, or there is no picture.
    """
    encoded: dict[str, Any] = {name: row.get(name) or "" for name in extra}
    for name in ("id", "question", "answer", "subject", "level"):
        value = row.get(name)
        if not (is_text(value) or is_number(value)):
            fault = bad_field(name, "a non-empty string or a number", value)
            raise InputError(f"{where}: {fault}")
        encoded[name] = str(value)
    choices = row.get("choices") or []
    if not isinstance(choices, list) or not all(map(is_text, choices)):
        fault = bad_field("choices", "a list of non-empty strings", choices)
        raise InputError(f"{where}: {fault}")
    if not picture.is_file():
        raise InputError(f"{where}: image: expected a file, got no {str(picture)!r}")
    return encoded | {"choices": choices, "image": str(picture)}
