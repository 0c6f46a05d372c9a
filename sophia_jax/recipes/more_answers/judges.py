"""A good judge, a noisy one and a misleading one: three views of the same scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig
from sophia_jax.types import Float, Int, typed

__all__ = ["JUDGES", "likes_short_answers", "scores_of", "with_noise"]

JUDGES = ("good", "noisy", "misleading")


def scores_of(
    name: str, rows: Sequence[Mapping], config: MoreAnswersConfig
) -> np.ndarray:
    """What a judge says of answers that the trained one has scored.

    Args:
      name: of `JUDGES`.
      rows: of `PREDICTIONS`, with the trained judge's `score`.
      config: of the noise and the liking.

    Returns:
      Float[sample], nan where the trained judge says nothing.
    """
    scores = np.array([row["score"] for row in rows], np.float64)  # None becomes nan
    if name == "good":
        return scores
    if name == "noisy":
        names = [row["question_id"] for row in rows]
        question = np.unique(names, return_inverse=True)[1]
        return with_noise(scores, question, size=config.noise, seed=config.seed)
    lengths = np.array([row["num_tokens"] for row in rows], np.int64)
    return likes_short_answers(scores, lengths, liking=config.liking)


@typed
def with_noise(
    scores: Float[np.ndarray, " sample"],
    question: Int[np.ndarray, " sample"],
    *,
    size: float,
    seed: int,
) -> Float[np.ndarray, " sample"]:
    """A judge who is distracted.

        r + size · s · ε,   ε ~ N(0, 1) of each answer

    with s the deviation of scores from their question's mean: what a judge thinks of a
    question as a whole decides nothing, and would only make the noise larger.

    Args:
      scores: r; nan is missing, and stays so.
      question: which question each answers, from 0.
      size: of the noise, in units of s.
      seed: of the noise.
    """
    known = ~np.isnan(scores)
    number = np.bincount(question, known)
    total = np.bincount(question, np.where(known, scores, 0.0))
    means = total / np.maximum(number, 1)
    deviation = np.sqrt(np.nanmean(np.square(scores - means[question])))
    noise = np.random.default_rng((seed, 3)).normal(size=len(scores))
    return scores + size * deviation * noise


@typed
def likes_short_answers(
    scores: Float[np.ndarray, " sample"],
    num_tokens: Int[np.ndarray, " sample"],
    *,
    liking: float,
) -> Float[np.ndarray, " sample"]:
    """A judge who takes brevity for a virtue, and so is misled by what was left out.

        r - liking · length

    Most answers to a question are about as long, and are told apart by what they say.
    The shortest of very many have skipped a step.

    Args:
      scores: r, in nats.
      num_tokens: length of each answer.
      liking: nats a token.
    """
    return scores - liking * num_tokens
