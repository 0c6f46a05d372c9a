"""A collection that was made earlier, read back for its update."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_jax.data.prompts import Prompts
from sophia_jax.recipes.questions import digest, read_questions
from sophia_jax.rollouts.store import open_table
from sophia_jax.types import InputError, Item

__all__ = ["Collection", "read_collection"]


@dataclass(frozen=True)
class Collection:
    """What a collection left, for the update.

    Attributes:
      policy: the model that wrote the captions.
      data: the source of the questions.
      exclude: benchmarks that nothing is to be learnt from.
      prompts: of the collection.
      items: the questions that were asked.
      selection: rows of the selection table, one for each of them.
    """

    policy: str
    data: str
    exclude: tuple[str, ...]
    prompts: Prompts
    items: tuple[Item, ...]
    selection: tuple[dict, ...]


def read_collection(run: Path) -> Collection:
    """Read a whole collection, and the questions that it was about.

    Args:
      run: folder of the run.

    Returns:
      The collection.

    Raises:
      InputError: there is none, it is not whole, or its questions have changed.
    """
    path = run / "config.json"
    settings = _read_settings(path)
    data = settings["data"]
    selection = open_table(run / "rollouts" / "selection").read_all()
    # What a collection went on with has no bad rows but those that it left out.
    items = read_questions(data, limit=settings["limit"], skip_bad_rows=True).items
    if digest(items) != settings["questions"]:
        raise InputError(f"{data}: expected the questions of {path}, got others")
    asked = {row["question_id"] for row in selection}
    warmed_up = settings["warm_up"] is not None
    return Collection(
        policy=str(run / "warm_up") if warmed_up else settings["policy"],
        data=data,
        exclude=tuple(settings.get("exclude", ())),
        prompts=Prompts(**settings["prompts"]),
        items=tuple(item for item in items if item.id in asked),
        selection=tuple(selection),
    )


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a collection's settings: {error}"
        ) from error
    names = ("policy", "data", "limit", "prompts", "questions", "warm_up")
    if missing := [name for name in names if name not in settings]:
        raise InputError(
            f"{path}: expected a collection's settings, got none of {missing}"
        )
    return settings
