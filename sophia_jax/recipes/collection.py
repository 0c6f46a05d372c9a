"""A collection that was made earlier, read back for its update."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_jax.config import SophiaConfig
from sophia_jax.data.items import read_items
from sophia_jax.data.prompts import DIGITS, Prompts
from sophia_jax.recipes.questions import digest, read_questions
from sophia_jax.rollouts.store import open_table
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.types import InputError, Item

__all__ = ["Collection", "Rollouts", "read_collection", "read_rollouts"]

COLLECTION = ("policy", "data", "limit", "prompts", "questions", "warm_up")
QUESTIONS_PER_SHARD = RolloutTables.questions_per_shard


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


@dataclass(frozen=True)
class Rollouts:
    """What a collection or the quickstart sampled.

    Attributes:
      tables: all of them whole.
      prompts: of the run.
      sophia: K, N and the threshold.
    """

    tables: RolloutTables
    prompts: Prompts
    sophia: SophiaConfig


def read_rollouts(run: Path) -> Rollouts:
    """Find the rollouts of a run, and the questions that they are about.

    Args:
      run: folder of a collection, or of the quickstart.

    Returns:
      The tables.

    Raises:
      InputError: there are none, they are not whole, or their questions have changed.
    """
    path = run / "config.json"
    settings = _read_settings(path, ("data", "sophia"))
    own_data = isinstance(settings["data"], str)  # the quickstart makes its own
    if own_data:
        collection = read_collection(run)
        items, prompts = collection.items, collection.prompts
    else:
        items, prompts = read_items(run / "data" / "train").items, DIGITS
    try:
        sophia = SophiaConfig(**settings["sophia"])
        size = settings["questions_per_shard"] if own_data else QUESTIONS_PER_SHARD
        tables = RolloutTables(run / "rollouts", items, size)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: expected a run's settings: {error}") from error
    if missing := tables.reasonings.missing():
        raise InputError(
            f"{tables.reasonings.folder}: expected all {tables.num_shards} shards, got "
            f"{tables.num_shards - len(missing)}"
        )
    return Rollouts(tables, prompts, sophia)


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
    settings = _read_settings(path, COLLECTION)
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


def _read_settings(path: Path, names: Sequence[str]) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a collection's settings: {error}"
        ) from error
    if missing := [name for name in names if name not in settings]:
        raise InputError(
            f"{path}: expected a collection's settings, got none of {missing}"
        )
    return settings
