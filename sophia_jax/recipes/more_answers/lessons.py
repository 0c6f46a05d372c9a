"""A judge that learns from pairs of a right and a wrong answer to the same question."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sophia_jax.data.packing import Example
from sophia_jax.data.prompts import encode_target
from sophia_jax.generation.pictured import PicturedExamples
from sophia_jax.models.model import Model
from sophia_jax.recipes.questions import encode_question
from sophia_jax.training import objectives
from sophia_jax.training.loop import TrainingConfig, train
from sophia_jax.training.scoring import score_examples
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = ["judge_scores", "learn_to_judge", "marked_pairs", "readable"]

FEWEST_PAIRS = 4
SCORED_TOGETHER = 64

Rows = Sequence[Mapping]
Pair = tuple[Mapping, Mapping]


def marked_pairs(rows: Rows, *, most: int, seed: int) -> list[Pair]:
    """A right answer and a wrong one to the same question, for each wrong one.

    So neither the question nor its kind says anything of which is right. Answers of
    which nobody knows are left out, and those that were cut off: a judge is not asked
    about them.

    Args:
      rows: of `PREDICTIONS`.
      most: pairs of a question.
      seed: of the draws and of the order.

    Returns:
      Pairs (right, wrong) in random order; a right answer may be in several.

    Raises:
      InputError: there are fewer than four pairs.
    """
    rng = np.random.default_rng((seed, 2))
    found: list[Pair] = []
    for right, wrong in _by_question(rows):
        for place in rng.permutation(len(wrong))[: most if right else 0]:
            found.append((right[rng.integers(len(right))], wrong[place]))
    if len(found) < FEWEST_PAIRS:
        raise InputError(
            f"train_answers: expected at least {FEWEST_PAIRS} wrong answers beside "
            f"right ones to the same questions, got {len(found)} among {len(rows)} "
            "answers; ask more"
        )
    return [found[place] for place in rng.permutation(len(found))]


def _by_question(rows: Rows) -> list[tuple[list[Mapping], list[Mapping]]]:
    """The whole answers to each question, right and wrong ones apart."""
    found: dict[str, dict[str, list[Mapping]]] = {}
    for row in rows:
        if row["finish_reason"] == "stop":
            verdicts = found.setdefault(row["question_id"], {"right": [], "wrong": []})
            verdicts.setdefault(row["verdict"], []).append(row)
    return [(verdicts["right"], verdicts["wrong"]) for verdicts in found.values()]


def readable(model: Model, items: Sequence[Item], rows: Rows) -> list[Mapping]:
    """The answers that were not cut off, and that the judge can read.

    Args:
      model: the judge.
      items: the questions.
      rows: answers to these.
    """
    images = {item.id: item.images for item in items}
    return [
        row
        for row in rows
        if row["finish_reason"] == "stop"
        and _answer(model, row, images[row["question_id"]]).length
        <= model.config.text.max_length
    ]


def learn_to_judge(
    model: Model,
    items: Sequence[Item],
    pairs: Sequence[Pair],
    config: TrainingConfig,
    folder: Path,
    *,
    track: Track = untracked,
) -> Model:
    """Tune a judge to reward the right answer of each pair more.

    By `objectives.preference`: an answer's reward is its log-likelihood.

    Args:
      model: where to start: the policy's own likelihoods tell much already.
      items: the training questions.
      pairs: of `marked_pairs`, to these.
      config: of the updates, whose batches count pairs.
      folder: of checkpoints and metrics; a killed phase goes on from there.
      track: shows the updates.

    Raises:
      ValueError: an answer is to another question.
    """
    pictures = {item.id: item.images for item in items}
    rows = [row for pair in pairs for row in pair]
    if strange := {row["question_id"] for row in rows} - pictures.keys():
        raise ValueError(
            f"pairs: expected answers to the training questions, got {min(strange)!r}"
        )
    images = [pictures[row["question_id"]] for row in rows]
    answers = [_answer(model, *each) for each in zip(rows, images, strict=True)]
    return train(
        model,
        _TwoByTwo(PicturedExamples(model, answers, images)),
        objectives.preference,
        config,
        folder,
        track=track,
        description="judging",
    )


def judge_scores(
    model: Model, items: Sequence[Item], rows: Rows, *, row_length: int
) -> list[float]:
    """r(x, y) = log π(y | v, x), in nats, as `objectives.preference` learns it.

    Args:
      model: of `learn_to_judge`.
      items: the questions.
      rows: answers to these.
      row_length: tokens of a packed row; the same for all calls, that they may share
        programs.

    Returns:
      One for each answer; nan where it was cut off or is too long for the judge.
    """
    images = {item.id: item.images for item in items}
    read = readable(model, items, rows)
    shown = [images[row["question_id"]] for row in read]
    answers = [_answer(model, *each) for each in zip(read, shown, strict=True)]
    log_probs = score_examples(
        model,
        PicturedExamples(model, answers, shown),
        row_length=row_length,
        batch_size=SCORED_TOGETHER,
    )
    known = {_key(r): float(x.sum()) for r, x in zip(read, log_probs, strict=True)}
    return [known.get(_key(row), math.nan) for row in rows]


@dataclasses.dataclass(frozen=True)
class _TwoByTwo(Sequence[tuple[Example, Example]]):
    """Neighbours as pairs, each read when its turn comes."""

    members: PicturedExamples

    def __len__(self) -> int:
        return len(self.members) // 2

    def __getitem__(self, index: int) -> tuple[Example, Example]:
        return self.members[2 * index], self.members[2 * index + 1]


def _key(row: Mapping) -> tuple[str, int]:
    return row["question_id"], row["sample"]


def _answer(model: Model, row: Mapping, images: tuple[str, ...]) -> Example:
    """What a policy was asked, and what it has answered."""
    return Example(
        encode_question(model, row["question"], images),
        encode_target(model.tokenizer, row["response"]),
    )
