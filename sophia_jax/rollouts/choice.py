"""Which of the trajectories that qualify is kept: the shortest, or one by its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sophia_jax.config import SophiaConfig
from sophia_jax.inference_scaling import reward_weighted_probs
from sophia_jax.seeds import group_seed
from sophia_jax.types import Item, JudgeFn

__all__ = [
    "Candidates",
    "Choose",
    "Score",
    "check_choice",
    "judged",
    "reward_weighted",
    "shortest",
]


@dataclass(frozen=True)
class Candidates:
    """The right reasonings of one question under captions that pass.

    Attributes:
      item: the question.
      texts: of each, at least one, in row-major order of captions and reasonings.
      lengths: Int[candidate], L_y, policy tokens of each with its end token.
      caption_rewards: Float[candidate], R(c) of the caption that each is from; where
        reasonings were stopped early, the least that it can be.
    """

    item: Item
    texts: tuple[str, ...]
    lengths: np.ndarray
    caption_rewards: np.ndarray


Choose = Callable[[Candidates], int | None]
"""Candidates -> index of the one that is kept; None where it cannot tell."""

Score = Callable[[Candidates], np.ndarray]
"""Candidates -> Float[candidate], larger is better, nan where there is none."""


def shortest(candidates: Candidates) -> int:
    """argmin L_y, the first on a tie: the paper's choice.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (6).
    """
    return int(np.argmin(candidates.lengths))


def check_choice(choose: Choose, config: SophiaConfig) -> None:
    """That all candidates will be there: those that were longer may not be stopped.

    Raises:
      ValueError: the configuration stops them, and the choice is another.
    """
    if config.early_stopping and choose is not shortest:
        raise ValueError(
            "early_stopping: expected False for another choice than the shortest, got "
            "True"
        )


def reward_weighted(score: Score, *, temperature: float, seed: int = 0) -> Choose:
    """A choice at random, of good ones with a higher chance.

        P(i) = e^(s_i / T) / Σ_j e^(s_j / T)

    At T = 0 the best is kept, at T = inf any; with s = -L_y the shortest and any.

    Args:
      score: s of the candidates, such as `judged(judge)`.
      temperature: T >= 0, in units of the score.
      seed: of the draws; that of a question depends on nothing else but its id.

    Returns:
      A `Choose`, which cannot tell where every score is missing.

    Raises:
      ValueError: temperature is negative or nan.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905, for the weights.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature: expected >= 0, got {temperature}")

    def choose(candidates: Candidates) -> int | None:
        scores = np.asarray(score(candidates), np.float32)
        probs = np.asarray(reward_weighted_probs(scores, temperature=temperature))
        if not probs.any():
            return None
        seed_of_question = group_seed(seed, 0, "trajectory", candidates.item.id)
        chances = probs.astype(float) / probs.sum(dtype=float)
        rng = np.random.default_rng(seed_of_question)
        return int(rng.choice(len(chances), p=chances))

    return choose


def judged(judge: JudgeFn) -> Score:
    """What a judge says of each candidate, who is shown the question and the text."""

    def score(candidates: Candidates) -> np.ndarray:
        pairs = [(candidates.item.question, text) for text in candidates.texts]
        return np.asarray(judge(pairs), float)

    return score
