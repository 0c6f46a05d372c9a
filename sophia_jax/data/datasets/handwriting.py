"""Arithmetic on real handwriting: pictures of numbers, and questions about them.

The scans and the numbers are both split before anything is composed: no scan and no set
of numbers that a held-out question uses appears anywhere else.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds

from sophia_jax.data.arithmetic import KINDS, caption, draw_numbers, perception
from sophia_jax.data.digits import PICTURE_SIZE, compose_picture, split_scans

__all__ = ["CONSTANT_SHARE", "Handwriting", "HandwritingConfig", "constant_answers"]

CONSTANT_SHARE = 0.06  # no answer may be right for more of a kind's questions
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
    train: int = 1_280
    held_out: int = 600
    seed: int = 0
    caption_prompt: str = "Read the picture."


class Handwriting(tfds.core.GeneratorBasedBuilder):
    """Splits `perception`, `train` and `held_out`; rows come in hashed order."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [HandwritingConfig(name="default")]

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
        return {
            "perception": self._perception(),
            "train": self._questions("train", self.builder_config.train),
            "held_out": self._questions("held_out", self.builder_config.held_out),
        }

    def _generate_examples(self) -> Iterator:
        raise AssertionError("each split has its own generator")

    def _perception(self) -> Iterator[tuple[str, dict]]:
        """Pictures to read: captions, and questions that need no calculation."""
        config = self.builder_config
        rng = np.random.default_rng((config.seed, 0))
        for index in range(config.perception):
            numbers = draw_numbers(rng, int(rng.integers(2, 4)), held_out=False)
            if rng.random() < CAPTION_SHARE:
                kind, question, answer = "caption", config.caption_prompt, caption(numbers)
            else:
                kind = "perception"
                question, digits = perception(rng, numbers)
                answer = f"\\boxed{{{digits}}}"
            name = f"perception-{index:05}"
            yield name, _row(rng, name, kind, question, answer, numbers, held_out=False)

    def _questions(self, split: str, count: int) -> Iterator[tuple[str, dict]]:
        """Questions to reason about, the kinds in turn, no answer too common."""
        held_out = split == "held_out"
        rng = np.random.default_rng((self.builder_config.seed, 1 + held_out))
        per_kind = -(-count // len(KINDS))
        most = int(CONSTANT_SHARE * per_kind)
        answers: dict[str, Counter] = {name: Counter() for name in KINDS}
        asked = set()
        for index in range(count):
            name, kind = list(KINDS.items())[index % len(KINDS)]
            while True:
                size = int(rng.choice(kind.counts))
                numbers = draw_numbers(rng, size, held_out=held_out)
                answer = kind.answer(numbers)
                new = (name, *numbers) not in asked
                if new and answer >= 0 and answers[name][answer] < max(most, 1):
                    break
            asked.add((name, *numbers))
            answers[name][answer] += 1
            key = f"{split}-{name}-{index // len(KINDS):04}"
            yield (
                key,
                _row(
                    rng, key, name, kind.question, str(answer), numbers, held_out=held_out
                ),
            )


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
