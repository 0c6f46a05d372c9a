"""The pairs of an alignment, as far as a page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_jax.rollouts.store import open_table
from sophia_jax.types import InputError
from sophia_jax.viz.pictures import Picture
from sophia_jax.viz.questions import find_picture

__all__ = ["Alignment", "PairCard", "read_alignment"]

COLUMNS = ("id", "question", "images", "chosen", "rejected", "held_out")


@dataclass(frozen=True)
class PairCard:
    """A held-out pair.

    Attributes:
      pair_id: its id.
      question: both answer it.
      pictured: whether it is about a picture.
      picture: the first one, where it is still there.
      chosen, rejected: the answers.
      margin: reward of the first less that of the second; None before the last update.
    """

    pair_id: str
    question: str
    pictured: bool
    picture: Picture | None
    chosen: str
    rejected: str
    margin: float | None


@dataclass(frozen=True)
class Alignment:
    """What a run learnt preferences from.

    Attributes:
      learnt: pairs to learn from.
      held_out: pairs that were only looked at.
      cards: the first of these.
    """

    learnt: int
    held_out: int
    cards: tuple[PairCard, ...]


def read_alignment(run_folder: Path, most: int) -> Alignment | None:
    """The tables `pairs` and `held_out` of a run.

    Args:
      run_folder: in which either may lack.
      most: pairs that are shown.

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
    held_out = [row for row in rows if row["held_out"]]
    cards = (_card(run_folder, row, margins.get(row["id"])) for row in held_out[:most])
    return Alignment(len(rows) - len(held_out), len(held_out), tuple(cards))


def _read(folder: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    table = open_table(folder)
    if missing := set(columns) - set(table.schema.names):
        raise InputError(
            f"{folder}: expected the columns {', '.join(columns)}, got no "
            f"{', '.join(sorted(missing))}"
        )
    return table.read_all()


def _card(run_folder: Path, row: Mapping[str, Any], margin: float | None) -> PairCard:
    images = row["images"]
    return PairCard(
        pair_id=row["id"],
        question=row["question"],
        pictured=bool(images),
        picture=find_picture(run_folder, images[0]) if images else None,
        chosen=row["chosen"],
        rejected=row["rejected"],
        margin=margin,
    )
