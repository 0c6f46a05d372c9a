"""The user's questions, and whether a model has room for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sophia_jax.config import Dtype
from sophia_jax.data.good_rows import ItemFile
from sophia_jax.data.images import count_tiles
from sophia_jax.data.item_rows import Use
from sophia_jax.data.prompts import encode_prompt
from sophia_jax.data.sources import read_source
from sophia_jax.models.model import Model
from sophia_jax.recipes.meshes import load_for_sampling
from sophia_jax.rewards.answers import MAX_ANSWER_CHARS
from sophia_jax.sharding import MeshConfig, Partition
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = [
    "Check",
    "can_be_judged",
    "digest",
    "encode_question",
    "keep_fitting",
    "load_vision_model",
    "read_questions",
    "room_for",
]

Check = Callable[[Item], object]
"""Raises an InputError for a question that cannot be asked."""


def read_questions(
    source: str | Path,
    *,
    limit: int | None = None,
    skip_bad_rows: bool = False,
    use: Use = "ask",
    track: Track = untracked,
    say: Callable[[str], None] = lambda line: None,
) -> ItemFile:
    """The first good rows of a source.

    Args:
      source: of any form that `read_source` knows.
      limit: how many are taken at most; None for all.
      skip_bad_rows: leave bad rows out and list them, instead of refusing the source.
      use: what the rows are for, as of `make_item`.
      track: shows how many pictures were read.
      say: prints how much was unpacked.

    Returns:
      The questions, and one line for each bad row of the source.

    Raises:
      InputError: limit is not positive, or as `read_source`.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected >= 1, got {limit}")
    read = read_source(
        source,
        skip_bad_rows=skip_bad_rows,
        use=use,
        track=track,
        say=say,
    )
    return ItemFile(items=read.items[:limit], skipped=read.skipped)


def digest(items: Sequence[Item]) -> str:
    """A fingerprint of what is asked, for runs that go on after the file has changed.

    Args:
      items: the questions.

    Returns:
      The SHA-256 of their ids, texts and answers, in order.
    """
    hashed = hashlib.sha256()
    for item in items:
        hashed.update(f"{item.id}\x1f{item.question}\x1f{item.answer}\x1e".encode())
    return hashed.hexdigest()


def load_vision_model(
    path: str | Path,
    mesh: MeshConfig | None,
    *,
    learns_on: Partition | None = None,
    dtype: Dtype = "float32",
    track: Track = untracked,
) -> Model:
    """A model that can be shown pictures, where it is sampled.

    Args:
      path: as of `load_model`.
      mesh: of its role.
      learns_on: where it will be moved to.
      dtype: of its weights.
      track: shows how fast its weights come.

    Raises:
      InputError: it is text-only, or as `load_model`.
    """
    model = load_for_sampling(path, mesh, learns_on=learns_on, dtype=dtype, track=track)
    if model.tiles is None:
        raise InputError(
            f"{path}: expected a vision-language model, got a text-only one"
        )
    return model


def can_be_judged(item: Item) -> None:
    """A check that the verifier takes a question's answer.

    Raises:
      InputError: it is too long.
    """
    if len(item.answer) > MAX_ANSWER_CHARS:
        raise InputError(
            f"answer: expected at most {MAX_ANSWER_CHARS} characters, "
            f"got {len(item.answer)}"
        )


def room_for(
    model: Model,
    max_new_tokens: int,
    text: Callable[[Item], str],
    *,
    system: str | None = None,
    pictures: bool = True,
) -> Check:
    """A check that a question's prompt and its answer fit into a model's context.

    Args:
      model: which is asked.
      max_new_tokens: of the answer.
      text: what the user says about a question.
      system: the system prompt, or None.
      pictures: whether the question's pictures are shown.

    Returns:
      The check.
    """

    def check(item: Item) -> None:
        encode_question(
            model,
            text(item),
            item.images if pictures else (),
            system=system,
            max_new_tokens=max_new_tokens,
        )

    return check


def encode_question(
    model: Model,
    text: str,
    images: Sequence[str],
    *,
    system: str | None = None,
    max_new_tokens: int = 0,
) -> np.ndarray:
    """`encode_prompt` for the paths of pictures, whose sizes alone are needed."""
    return encode_prompt(
        model.tokenizer,
        model.config,
        text,
        system=system,
        tiles_per_image=count_tiles(model.tiles, images),
        max_new_tokens=max_new_tokens,
    )


def keep_fitting(
    questions: ItemFile,
    checks: Sequence[Check],
    where: str | Path,
    *,
    skip_bad_rows: bool,
) -> ItemFile:
    """The questions that pass all checks; a prompt is never cut off to fit.

    Args:
      questions: as read.
      checks: the first that fails is reported.
      where: the question file, for messages.
      skip_bad_rows: leave the others out and list them, instead of refusing.

    Returns:
      The questions that fit, and the list with those that do not.

    Raises:
      InputError: a question does not fit; with skip_bad_rows, none does.
    """
    faults = {item.id: _fault(item, checks) for item in questions.items}
    fitting = tuple(item for item in questions.items if not faults[item.id])
    bad = tuple(
        f"{where}: id {name}: {fault}" for name, fault in faults.items() if fault
    )
    if bad and not skip_bad_rows:
        others = f"and {len(bad) - 1} more such rows; " if len(bad) > 1 else ""
        raise InputError(f"{bad[0]} ({others}--skip-bad-rows skips and lists them)")
    if not fitting:
        raise InputError(
            f"{where}: expected a row that fits, got {len(bad)} that do not; "
            f"the first: {bad[0]}"
        )
    return ItemFile(items=fitting, skipped=questions.skipped + bad)


def _fault(item: Item, checks: Sequence[Check]) -> str:
    try:
        for check in checks:
            check(item)
    except InputError as error:
        return str(error)
    return ""
