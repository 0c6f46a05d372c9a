"""Pairs of answers, of which one is preferred, and how the model rewards them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_jax.rollouts.store import open_table
from sophia_jax.types import InputError
from sophia_jax.viz.entries import Branch, Entry, EntrySet, Leaf
from sophia_jax.viz.questions import find_pictures

__all__ = ["Pairs", "read_pairs"]

COLUMNS = ("id", "question", "images", "chosen", "rejected", "held_out")


@dataclass(frozen=True)
class Pairs:
    """What a run learnt preferences from.

    Attributes:
      learnt: how many pairs there are to learn from.
      held_out: how many were only looked at.
      sets: the latter, then the former.
    """

    learnt: int
    held_out: int
    sets: tuple[EntrySet, ...]


def read_pairs(run_folder: Path) -> Pairs | None:
    """The tables `pairs` and `held_out` of a run.

    Args:
      run_folder: in which either may lack.

    Returns:
      None where the run is no alignment.

    Raises:
      InputError: a table is not whole, is damaged, or has other columns.
    """
    if not (run_folder / "pairs").is_dir():
        return None
    rows = _read(run_folder / "pairs", COLUMNS)
    margins: dict[str, float] = {}
    if (run_folder / "held_out").is_dir():
        rewards = _read(run_folder / "held_out", ("id", "reward_margin"))
        margins = {row["id"]: row["reward_margin"] for row in rewards}
    parts = {True: "held-out pairs", False: "pairs to learn from"}
    found = {part: [row for row in rows if row["held_out"] == part] for part in parts}

    def entries(part: bool) -> Iterator[Entry]:
        for row in found[part]:
            yield _entry(run_folder, row, margins.get(row["id"]))

    return Pairs(
        len(found[False]),
        len(found[True]),
        tuple(EntrySet(parts[p], len(found[p]), entries(p)) for p in parts),
    )


def _read(folder: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    table = open_table(folder)
    if missing := set(columns) - set(table.schema.names):
        raise InputError(
            f"{folder}: expected the columns {', '.join(columns)}, got no "
            f"{', '.join(sorted(missing))}"
        )
    return table.read_all()


def _entry(run_folder: Path, row: Mapping[str, Any], margin: float | None) -> Entry:
    pictures, lost = find_pictures(run_folder, row["images"] or ())
    status, good = _status(row["held_out"], margin)
    known = margin is not None and not math.isnan(margin)
    words = f"reward margin {margin:.4g}" if known else status
    return Entry(
        name=row["id"],
        question=row["question"],
        answer=None,
        pictures=pictures,
        lost=lost,
        status=status,
        good=good,
        words=words,
        labels={"outcome": status},
        branches=tuple(
            Branch(name, leaves=(Leaf("", "", row[name.lower()]),))
            for name in ("Chosen", "Rejected")
        ),
    )


def _status(held_out: bool, margin: float | None) -> tuple[str, bool | None]:
    if not held_out:
        return "to learn from", None
    if margin is None:
        return "not scored yet", None
    if math.isnan(margin):
        return "reward margin not known", None
    if margin == 0:
        return "both rewarded alike", None
    return ("chosen" if margin > 0 else "rejected") + " rewarded more", margin > 0
