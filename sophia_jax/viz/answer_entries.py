"""Questions that one model answered, or two: what each made of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from sophia_jax.evaluation.predictions import PREDICTIONS
from sophia_jax.types import Item
from sophia_jax.viz.columns import iterate_rows, read_columns, some_columns
from sophia_jax.viz.differences import word_differences
from sophia_jax.viz.entries import Branch, Entry, EntrySet, Leaf
from sophia_jax.viz.questions import find_pictures

__all__ = ["answer_entries"]

MAY_LACK = ("sample", "level", "score")  # in tables of earlier versions
# Of two models: whether the first is right, and whether the second is.
CHANGES = {
    (False, True): ("now right", True),
    (True, False): ("no longer right", False),
    (True, True): ("right both times", True),
    (False, False): ("wrong both times", False),
}

Rows = Sequence[Mapping[str, Any]]


def answer_entries(
    name: str, run_folder: Path, files: Mapping[str, Path], items: Mapping[str, Item]
) -> EntrySet:
    """Every question that was answered, in the order of the first file.

    Args:
      name: of the set.
      run_folder: from which paths of pictures may start.
      files: each model's `predictions.parquet`, by what it is called, one or two. The
        first is read bit by bit.
      items: the questions, as far as their file is there.

    Returns:
      The questions.

    Raises:
      InputError: a file is damaged or lacks a column, at once or while it is read.
    """
    first, *others = files
    ids = some_columns(PREDICTIONS, "question_id")
    asked = [read_columns(path, ids)["question_id"] for path in files.values()]
    total = len({name for each in asked for name in pc.unique(each).to_pylist()})

    def entries() -> Iterator[Entry]:
        left = {model: dict(_questions(files[model])) for model in others}
        for question, rows in _questions(files[first]):
            also = {m: t.pop(question) for m, t in left.items() if question in t}
            yield _entry(run_folder, items.get(question), {first: rows, **also})
        for model, table in left.items():
            for question, rows in table.items():
                yield _entry(run_folder, items.get(question), {model: rows})

    return EntrySet(name, total, entries())


def _questions(path: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The samples of each question, which stand side by side."""
    rows = iterate_rows(path, PREDICTIONS, may_lack=MAY_LACK)
    for question, group in itertools.groupby(rows, lambda row: row["question_id"]):
        yield question, list(group)


def _entry(run_folder: Path, item: Item | None, models: Mapping[str, Rows]) -> Entry:
    first = next(iter(models.values()))[0]
    paths = item.images if item else (first["image"],) if first["image"] else ()
    pictures, lost = find_pictures(run_folder, paths)
    status, good = _status(list(models.values()))
    truth = item.caption if item else None
    return Entry(
        name=first["question_id"],
        question=first["question"],
        answer=first["answer"],
        pictures=pictures,
        lost=lost,
        status=status,
        good=good,
        words=_words(models),
        labels={"outcome": status} | _labels(first, models),
        branches=tuple(_branch(name, rows, truth) for name, rows in models.items()),
        truth=truth,
    )


def _rights(rows: Rows) -> int:
    return sum(row["verdict"] == "right" for row in rows)


def _status(models: Sequence[Rows]) -> tuple[str, bool]:
    """What came of a question, and whether that is good."""
    if len(models) == 2:
        before, after = (_rights(rows) > 0 for rows in models)
        return CHANGES[before, after]
    right, of = _rights(models[0]), len(models[0])
    if of == 1:
        return models[0][0]["verdict"], right == 1
    words = "all right" if right == of else "some right" if right else "none right"
    return words, right > 0


def _words(models: Mapping[str, Rows]) -> str:
    """How many answers are right, of each model."""
    said = {
        name: rows[0]["verdict"]
        if len(rows) == 1
        else f"{_rights(rows)} of {len(rows)} answers right"
        for name, rows in models.items()
    }
    if len(said) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{name}: {words}" for name, words in said.items())


def _labels(first: Mapping[str, Any], models: Mapping[str, Rows]) -> dict[str, str]:
    labels = {name: first[name] for name in ("kind", "level") if first[name]}
    for name, rows in models.items():
        whose = f", {name}" if len(models) > 1 else ""
        right = rows[0]["caption_right"]
        if right is not None:
            labels[f"description{whose}"] = "right" if right else "wrong"
        if (best := _best_scored(rows)) is not None:
            words = "right" if best["verdict"] == "right" else "not right"
            labels[f"best-scored answer{whose}"] = words
    return labels


def _best_scored(rows: Rows) -> Mapping[str, Any] | None:
    scored = [row for row in rows if row["score"] is not None]
    scored = [row for row in scored if not math.isnan(row["score"])]
    return max(scored, key=lambda row: row["score"], default=None)


def _branch(name: str, rows: Rows, truth: str | None) -> Branch:
    caption = rows[0]["caption"]
    known = caption is not None and truth is not None
    return Branch(
        title=name,
        text=caption,
        differences=word_differences(caption, truth) if known else None,
        leaves=tuple(map(_leaf, rows)),
    )


def _leaf(row: Mapping[str, Any]) -> Leaf:
    cut_off = row["finish_reason"] == "length"
    mark = "cut off" if cut_off and row["verdict"] != "right" else row["verdict"]
    answer = row["extracted"]
    notes = ["no answer found" if answer is None else f"answer {answer}"]
    if cut_off:
        notes.append("cut off at the length limit")
    if row["score"] is not None:
        notes.append(f"score {row['score']:.3g}")
    return Leaf(mark, ", ".join(notes), row["response"], row["num_tokens"])
