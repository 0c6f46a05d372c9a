"""Arithmetic on real handwriting: pictures of numbers, and questions about them.

The scans and the numbers are both split before anything is composed: no scan and no set
of numbers that a held-out question uses appears anywhere else.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from sophia_jax.data.arithmetic import (
    KINDS,
    caption,
    draw_numbers,
    draw_shape,
    perception,
)
from sophia_jax.data.digits import PICTURE_SIZE, compose_picture, split_scans
from sophia_jax.data.prompts import DIGITS

__all__ = ["CONSTANT_SHARE", "Handwriting", "HandwritingConfig", "constant_answers"]

CONSTANT_SHARE = 0.06  # no answer may be right for more of a kind's questions
SINGLE_SHARE = 0.25  # of the perception split: pictures of one digit, to begin with
CAPTION_SHARE = 0.75  # of the perception split; the rest are questions


@dataclass(kw_only=True)
class HandwritingConfig(tfds.core.BuilderConfig):
    """How many rows each split has, and from which seed they are drawn.

    Attributes:
      perception: pictures with a caption or an easy question, to learn to see.
      train: questions to reason about.
      held_out: questions for evaluation, of held-out scans and numbers.
      seed: of all that is drawn.
      caption_prompt: what asks for a caption.
    """

    perception: int = 12_000
    train: int = 800
    held_out: int = 600
    seed: int = 0
    caption_prompt: str = DIGITS.caption


class Handwriting(tfds.core.GeneratorBasedBuilder):
    """Splits `perception`, `train` and `held_out`; rows come in hashed order."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [HandwritingConfig(name="default")]

    def _info(self) -> tfds.core.DatasetInfo:
        numbers = tfds.features.Sequence(np.int32)
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "id": text,
                    "image": tfds.features.Image(
                        shape=(PICTURE_SIZE, PICTURE_SIZE, 3), encoding_format="png"
                    ),
                    "kind": text,
                    "question": text,
                    "answer": text,
                    "caption": text,
                    "numbers": numbers,
                    "scans": numbers,
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        splits = ("perception", "train", "held_out")
        return {split: self._generate_examples(split) for split in splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict]]:
        config = self.builder_config
        if split == "perception":
            return perception_rows(config)
        return question_rows(config, held_out=split == "held_out")


def perception_rows(config: HandwritingConfig) -> Iterator[tuple[str, dict]]:
    """Pictures to read: captions, and questions that need no calculation."""
    rng = np.random.default_rng((config.seed, 0))
    for index in range(config.perception):
        numbers = draw_numbers(rng, draw_shape(rng), held_out=False)
        if rng.random() < SINGLE_SHARE:
            numbers = (int(rng.integers(10)),)
        if rng.random() < CAPTION_SHARE:
            kind, question, answer = "caption", config.caption_prompt, caption(numbers)
        else:
            kind = "perception"
            question, seen = perception(rng, numbers)
            answer = f"\\boxed{{{seen}}}"
        key = f"perception-{index:05}"
        yield key, _row(rng, key, kind, question, answer, numbers, held_out=False)


def question_rows(
    config: HandwritingConfig, *, held_out: bool
) -> Iterator[tuple[str, dict]]:
    """Questions to reason about, the kinds in turn, no answer too common."""
    split = "held_out" if held_out else "train"
    count = config.held_out if held_out else config.train
    rng = np.random.default_rng((config.seed, 1 + held_out))
    most = max(1, int(CONSTANT_SHARE * (count // len(KINDS))))
    answers: dict[str, Counter] = {name: Counter() for name in KINDS}
    asked = set()
    for index in range(count):
        name, kind = list(KINDS.items())[index % len(KINDS)]
        while True:
            numbers = draw_numbers(rng, draw_shape(rng, kind.shapes), held_out=held_out)
            answer = kind.answer(numbers)
            new = (name, *numbers) not in asked
            if new and answer >= 0 and answers[name][answer] < most:
                break
        asked.add((name, *numbers))
        answers[name][answer] += 1
        key = f"{split}-{name}-{index // len(KINDS):04}"
        row = _row(
            rng, key, name, kind.question, str(answer), numbers, held_out=held_out
        )
        yield key, row


def constant_answers(rows: list[tuple[str, str]]) -> dict[str, dict]:
    """For each kind of (kind, answer) rows, the best constant answer and its share."""
    by_kind: dict[str, Counter] = {}
    for kind, answer in rows:
        by_kind.setdefault(kind, Counter())[answer] += 1
    best = {kind: counts.most_common(1)[0] for kind, counts in by_kind.items()}
    return {
        kind: {"answer": answer, "share": count / by_kind[kind].total()}
        for kind, (answer, count) in best.items()
    }


def _row(
    rng: np.random.Generator,
    key: str,
    kind: str,
    question: str,
    answer: str,
    numbers: tuple[int, ...],
    *,
    held_out: bool,
) -> dict:
    split = split_scans()
    scans = split.held_out if held_out else split.training
    picture, used = compose_picture(rng, numbers, scans, distort=not held_out)
    encoded = io.BytesIO()
    picture.save(encoded, format="PNG")
    encoded.seek(0)
    return {
        "id": key,
        "image": encoded,
        "kind": kind,
        "question": question,
        "answer": answer,
        "caption": caption(numbers),
        "numbers": np.asarray(numbers, np.int32),
        "scans": np.asarray(used, np.int32),
    }
