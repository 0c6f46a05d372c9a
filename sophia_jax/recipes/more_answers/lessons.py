"""A judge that learns from marked answers to training questions."""

from __future__ import annotations

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
from sophia_jax.training.next_tokens import next_token_log_probs
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = ["balanced", "learn_to_judge", "log_odds", "readable"]

YES, NO = "yes", "no"
FEWEST_WRONG = 4
PROMPTS_AT_ONCE = 64

Rows = Sequence[Mapping]


def balanced(rows: Rows, *, seed: int) -> list[Mapping]:
    """As many right answers as wrong ones, to the same questions as far as they go.

    So neither an answer's question nor its kind says much of whether it is right. Of
    whichever are fewer, right or wrong ones, all are taken. Answers of which nobody
    knows are left out, and those that were cut off: a judge is not asked about them.

    Args:
      rows: of `PREDICTIONS`.
      seed: of the draws and of the order.

    Returns:
      Rows in random order, right and wrong ones in turn.

    Raises:
      InputError: there are fewer than four wrong answers, or as few right ones.
    """
    rng = np.random.default_rng((seed, 2))
    whole = [row for row in rows if row["finish_reason"] == "stop"]
    whole = [whole[place] for place in rng.permutation(len(whole))]
    right = [row for row in whole if row["verdict"] == "right"]
    wrong = [row for row in whole if row["verdict"] == "wrong"]
    if min(len(right), len(wrong)) < FEWEST_WRONG:
        raise InputError(
            f"train_answers: expected at least {FEWEST_WRONG} right and as many wrong "
            f"answers to learn from, got {len(right)} and {len(wrong)} of "
            f"{len(rows)}; ask more"
        )
    if len(right) < len(wrong):
        wrong = _beside(right, wrong)
    else:
        right = _beside(wrong, right)
    order = rng.permutation(len(right))
    return [each for place in order for each in (right[place], wrong[place])]


def _beside(few: Rows, many: Rows) -> list[Mapping]:
    """For each of the few one of the many: to its question, or any that is left."""
    by_question: dict[str, list[Mapping]] = {}
    for row in many:
        by_question.setdefault(row["question_id"], []).append(row)
    found = [
        mine.pop() if (mine := by_question.get(row["question_id"])) else None
        for row in few
    ]
    rest = iter([row for left in by_question.values() for row in left])
    return [next(rest) if row is None else row for row in found]


def readable(model: Model, items: Sequence[Item], rows: Rows) -> list[Mapping]:
    """The answers that were not cut off, and leave a judge room for its verdict.

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
        and _lesson(model, row, images[row["question_id"]]).length
        <= model.config.text.max_length
    ]


def learn_to_judge(
    model: Model,
    items: Sequence[Item],
    rows: Rows,
    config: TrainingConfig,
    folder: Path,
    *,
    track: Track = untracked,
) -> Model:
    """Supervised tuning on (picture, question, answer) -> yes or no.

    Args:
      model: where to start: the policy can read and calculate already.
      items: the training questions.
      rows: answers to these, as of `balanced`.
      config: of the updates.
      folder: of checkpoints and metrics; a killed phase goes on from there.
      track: shows the updates.

    Raises:
      ValueError: an answer is to another question.
    """
    pictures = {item.id: item.images for item in items}
    if strange := {row["question_id"] for row in rows} - pictures.keys():
        raise ValueError(
            f"rows: expected answers to the training questions, got {min(strange)!r}"
        )
    images = [pictures[row["question_id"]] for row in rows]
    lessons = [_lesson(model, *each) for each in zip(rows, images, strict=True)]
    return train(
        model,
        PicturedExamples(model, lessons, images),
        objectives.sft,
        config,
        folder,
        track=track,
        description="judging",
    )


def log_odds(
    model: Model, items: Sequence[Item], rows: Rows, *, row_length: int
) -> list[float]:
    """log π(yes | v, x, y) - log π(no | v, x, y), in nats: what a judge says.

    It is read from the logits behind the answer, of the tokens with which the two words
    begin; nothing is sampled.

    Args:
      model: of `learn_to_judge`.
      items: the questions.
      rows: answers to these.
      row_length: tokens of a packed row; the same for all calls, that they may share
        programs.

    Returns:
      One for each answer; nan where it was cut off or leaves no room for a verdict.
    """
    images = {item.id: item.images for item in items}
    asked = readable(model, items, rows)
    found = {_key(row): math.nan for row in rows}
    if not asked:
        return list(found.values())
    shown = [images[row["question_id"]] for row in asked]
    prompts = [_lesson(model, *each) for each in zip(asked, shown, strict=True)]
    log_probs = next_token_log_probs(
        model,
        list(PicturedExamples(model, prompts, shown)),
        _first_tokens(model),
        row_length=row_length,
        batch_size=PROMPTS_AT_ONCE,
    ).astype(float)
    odds = log_probs[:, 0] - log_probs[:, 1]
    found |= dict(zip(map(_key, asked), odds.tolist(), strict=True))
    return list(found.values())


def _key(row: Mapping) -> tuple[str, int]:
    return row["question_id"], row["sample"]


def _lesson(model: Model, row: Mapping, images: tuple[str, ...]) -> Example:
    """What a policy was asked and has answered, and behind its end whether it is right.

    So what the weights know already, how likely each token was, is still of use.
    """
    asked = encode_question(model, row["question"], images)
    answer = encode_target(model.tokenizer, row["response"])
    word = YES if row["verdict"] == "right" else NO
    return Example(
        np.concatenate([asked, answer]), encode_target(model.tokenizer, word)
    )


def _first_tokens(model: Model) -> list[int]:
    """With which "yes" and "no" begin: a small tokenizer knows neither as a whole."""
    tokens = [int(encode_target(model.tokenizer, word)[0]) for word in (YES, NO)]
    if tokens[0] == tokens[1]:
        raise InputError(
            f"model: expected yes and no to begin with different tokens, got "
            f"{tokens[0]}"
        )
    return tokens
