"""Outcomes, and rewards of steps, as scores of whole answers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from sophia_jax.rewards.answers import after_thinking
from sophia_jax.types import JudgeFn, RewardFn

__all__ = [
    "Reduction",
    "StepJudgeFn",
    "outcome_judge",
    "prefix_judge",
    "process_judge",
    "reduce_steps",
    "split_steps",
]

Reduction = Literal["min", "product", "mean"]
_REDUCTIONS: dict[Reduction, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "mean": lambda scores: math.fsum(scores) / len(scores),
}

StepJudgeFn = Callable[[Sequence[tuple[str, Sequence[str]]]], Sequence[Sequence[float]]]
"""(question, steps of an answer) pairs -> a score for each step, in order; nan where
there is none. A process-reward model is one."""


def outcome_judge(verify: RewardFn, answers: Mapping[str, str]) -> JudgeFn:
    """Right is 1, wrong is 0, and what is undecided has no score.

    Args:
      verify: such as `AnswerVerifier.verify`.
      answers: the right answer to each question.

    Returns:
      A judge of questions that have an answer; of others it raises KeyError.
    """
    scores = {"right": 1.0, "wrong": 0.0}

    def judge(pairs: Sequence[tuple[str, str]]) -> list[float]:
        verdicts = verify([(said, answers[question]) for question, said in pairs])
        return [scores.get(verdict.value, math.nan) for verdict in verdicts]

    return judge


def process_judge(score_steps: StepJudgeFn, *, reduction: Reduction = "min") -> JudgeFn:
    """One score for an answer from those of its steps, as of `reduce_steps`.

    Args:
      score_steps: a process-reward model, or a `prefix_judge`.
      reduction: of the steps' scores.

    Returns:
      A judge of answers, of which `split_steps` makes steps.
    """
    if reduction not in _REDUCTIONS:
        raise ValueError(
            f"reduction: expected one of {', '.join(_REDUCTIONS)}, got {reduction!r}"
        )

    def judge(pairs: Sequence[tuple[str, str]]) -> list[float]:
        scored = score_steps([(asked, split_steps(said)) for asked, said in pairs])
        return [
            reduce_steps(scores, reduction)
            for scores, _ in zip(scored, pairs, strict=True)
        ]

    return judge


def prefix_judge(judge: JudgeFn) -> StepJudgeFn:
    """A judge of answers as one of steps: of each, how good the answer is so far.

    Args:
      judge: is asked about each step with all before it.
    """

    def score_steps(
        pairs: Sequence[tuple[str, Sequence[str]]],
    ) -> list[list[float]]:
        begun = [
            (question, "\n\n".join(steps[:end]))
            for question, steps in pairs
            for end in range(1, len(steps) + 1)
        ]
        scores = iter(judge(begun))
        return [[next(scores) for _ in steps] for _, steps in pairs]

    return score_steps


def reduce_steps(scores: Sequence[float], reduction: Reduction) -> float:
    """The least, the product or the mean of the steps' scores.

    Args:
      scores: of an answer's steps; a product takes probabilities.
      reduction: which of the three.

    Returns:
      The score; nan where there is no step, or one has no score: what the others say
      is not what all of them do.
    """
    if not len(scores) or any(math.isnan(score) for score in scores):
        return math.nan
    return float(_REDUCTIONS[reduction](list(scores)))


def split_steps(response: str) -> list[str]:
    """The paragraphs of what a response says after its thinking; its lines where it has
    a single paragraph."""
    text = after_thinking(response).strip()
    paragraphs = re.split(r"\n\s*\n", text)
    steps = paragraphs if len(paragraphs) > 1 else text.splitlines()
    return [step.strip() for step in steps if step.strip()]
