"""Answers of a finished run's policy, several to each question, kept shard by shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sophia_jax.data.items import FILE_NAME, read_items
from sophia_jax.evaluation.evaluate import (
    read_evaluation,
    save_evaluation,
    summarize,
)
from sophia_jax.preemption import stop_if_preempted
from sophia_jax.recipes.more_answers.sizes import FEWEST_QUESTIONS
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = ["FinishedRun", "by_shard", "find_run", "some_of"]

Rows = list[dict]


@dataclass(frozen=True)
class FinishedRun:
    """What a quickstart left.

    Attributes:
      model: folder of the policy.
      train: the questions that it learnt from.
      held_out: questions with other numbers.
    """

    model: Path
    train: tuple[Item, ...]
    held_out: tuple[Item, ...]


def find_run(folder: Path) -> FinishedRun:
    """The policy and the questions of a quickstart.

    Args:
      folder: of the run.

    Raises:
      InputError: it is not a quickstart's, the run has not ended, there are too few
        held-out questions, or one of them is a training question too.
    """
    paths = {
        "model": folder / "model" / "config.json",
        "train": folder / "data" / "train" / FILE_NAME,
        "held_out": folder / "data" / "held_out" / FILE_NAME,
    }
    missing = [p.relative_to(folder) for p in paths.values() if not p.is_file()]
    if missing:
        raise InputError(
            f"--run: expected the folder of a whole quickstart, got {folder} without "
            f"{', '.join(map(str, missing))}"
        )
    train, held_out = (read_items(paths[n]).items for n in ("train", "held_out"))
    if len(held_out) < FEWEST_QUESTIONS:
        raise InputError(
            f"{paths['held_out']}: expected at least {FEWEST_QUESTIONS} questions, got "
            f"{len(held_out)}"
        )
    if both := {item.id for item in train} & {item.id for item in held_out}:
        raise InputError(
            f"{paths['held_out']}: expected no training question, got {min(both)!r}"
        )
    return FinishedRun(paths["model"].parent, train, held_out)


def some_of(items: Sequence[Item], number: int, *, seed: int) -> tuple[Item, ...]:
    """So many of the questions, drawn without return, in their order.

    Args:
      items: all of them, at least so many.
      number: how many.
      seed: of the draw.
    """
    places = np.random.default_rng((seed, 1)).permutation(len(items))[:number]
    return tuple(items[place] for place in sorted(places))


def by_shard(
    folder: Path,
    items: Sequence[Item],
    make: Callable[[Sequence[Item]], Rows],
    size: int,
    *,
    track: Track = untracked,
    name: str = "answers",
) -> Rows:
    """What is made of each question, kept in a folder, some questions at a time.

    Args:
      folder: of the shards; those that are whole are read back.
      items: the questions.
      make: gives rows of `PREDICTIONS`, for as many questions.
      size: questions in a shard.
      track: shows the shards.
      name: what `track` calls them.

    Returns:
      All rows, in the order of the questions.

    Raises:
      Preempted: it was told to stop; whole shards are kept.
    """
    starts = range(0, len(items), size)
    found: Rows = []
    for start in track(starts, name, len(starts)):
        stop_if_preempted()
        shard = folder / f"{start:06d}"
        rows = read_evaluation(shard)
        if rows is None:
            rows = make(items[start : start + size])
            save_evaluation(shard, rows, summarize(rows))
        found += rows
    return found
