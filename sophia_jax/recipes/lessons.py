"""Rows whose answers are learnt as they stand: of the warm-up, and beside an update.

The paper's final mix has text-only trajectories and general questions about pictures
beside the kept ones; here they are any sources of questions with worked answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import grain.python as grain
import numpy as np

from sophia_jax.data.examples import Example
from sophia_jax.data.mixing import mix_examples
from sophia_jax.data.prompts import encode_target
from sophia_jax.generation.images import ImageEncoder
from sophia_jax.models.model import Model
from sophia_jax.recipes.leak_check import drop_leaks
from sophia_jax.recipes.phases import MixPart, lesson_example
from sophia_jax.recipes.questions import (
    encode_question,
    keep_fitting,
    read_questions,
)
from sophia_jax.types import Item, Track, untracked

__all__ = ["Lessons", "mix_lessons", "read_lessons"]


@dataclass(frozen=True)
class Lessons:
    """What one source gives to learn.

    Attributes:
      items: whose answers are the texts to be learnt; with pictures or without.
      skipped: one line for each row that was left out.
      longest: tokens of the longest example.
    """

    items: tuple[Item, ...]
    skipped: tuple[str, ...]
    longest: int


def read_lessons(
    policy: Model,
    data: str,
    *,
    exclude: Sequence[str] = (),
    skip_bad_rows: bool = False,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> Lessons:
    """Rows to imitate, each of which fits into the policy's context.

    Args:
      policy: that will learn.
      data: a source, as of `read_source`.
      exclude: benchmarks whose questions and pictures are left out.
      skip_bad_rows: leave bad and too long rows out and list them.
      track: shows how many pictures were read.
      say: prints a line about what was unpacked or left out.

    Raises:
      InputError: the source or a benchmark cannot be used.
    """
    lessons = read_questions(
        data, skip_bad_rows=skip_bad_rows, use="imitate", track=track, say=say
    )
    lessons = drop_leaks(
        lessons, exclude, data, skip_bad_rows=skip_bad_rows, track=track, say=say
    )
    lengths = {}

    def check(item: Item) -> None:
        target_ids = encode_target(policy.tokenizer, item.answer)
        prompt_ids = encode_question(
            policy, item.question, item.images, max_new_tokens=len(target_ids)
        )
        lengths[item.id] = len(prompt_ids) + len(target_ids) - 1

    fitting = keep_fitting(lessons, [check], data, skip_bad_rows=skip_bad_rows)
    return Lessons(
        items=fitting.items,
        skipped=fitting.skipped,
        longest=max(lengths[item.id] for item in fitting.items),
    )


def mix_lessons(
    policy: Model,
    trajectories: Sequence[Example],
    lessons: Mapping[MixPart, Lessons],
    *,
    trajectory_weight: int,
    seed: int,
) -> grain.MapDataset:
    """Kept trajectories and lessons in one endless order, in exact shares.

    Pictures of lessons are read and encoded when their turn comes.

    Args:
      policy: whose tower encodes them.
      trajectories: at least one.
      lessons: of each part of the mix, with its weight.
      trajectory_weight: how many trajectories stand beside a part's `weight` rows.
      seed: of the orders.
    """
    encode_images, lock = ImageEncoder(policy), threading.Lock()

    def example(item: Item) -> Example:
        features: Sequence[np.ndarray] = ()
        if item.images:
            with lock:  # grain asks in threads
                [features] = encode_images([item.images])
        return lesson_example(policy, item, features)

    parts = [
        (grain.MapDataset.source(each.items).map(example), part.weight)
        for part, each in lessons.items()
    ]
    return mix_examples([(trajectories, trajectory_weight), *parts], seed=seed)
