"""Whether one of two runs on the same questions is better, or was lucky."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sophia_jax.evaluation.metrics import batch_sizes, bootstrap_interval, check_values
from sophia_jax.types import Float, typed

__all__ = [
    "PairedDifference",
    "mcnemar_p_value",
    "paired_difference",
    "sign_flip_p_value",
]

MCNEMAR = "McNemar's exact test"
SIGN_FLIPS = "a permutation test of sign flips"
ROUNDING = 1e-9  # sums of equal numbers in another order differ by far less


@dataclass(frozen=True)
class PairedDifference:
    """How the second of two runs compares with the first, question by question.

    Attributes:
      first, second: mean score of each run.
      difference: second minus first.
      interval: of the difference, by `bootstrap_interval` over the questions.
      p_value: of a difference as large as this, in either direction, by chance.
      test: that the p value is of, in words.
      won, lost, tied: questions on which the second run scores more, less, the same.
    """

    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    test: str
    won: int
    lost: int
    tied: int


@typed
def paired_difference(
    first: Float[np.ndarray, " question"],
    second: Float[np.ndarray, " question"],
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two runs on the same questions.

        d = 1/n Σ_i (second_i - first_i)

    What makes a question hard for both runs cancels, so that a smaller difference can
    be seen than from the two intervals. Where every score is 0 or 1 the test is
    McNemar's exact one, else the one by sign flips.

    Args:
      first: the score of each question in one run, in [0, 1].
      second: the same questions' in the other, in the same order.
      confidence: coverage that the interval aims at, in (0, 1).
      num_resamples: of the bootstrap and of the sign flips, at least 1.
      seed: of both.

    Returns:
      The difference with its interval, p value and counts.

    Raises:
      TypeError: the arrays are not floats of one length.
      ValueError: an argument is out of its range, or a score is not finite.

    Reference:
      Efron, Annals of Statistics 7, 1979; McNemar, Psychometrika 12, 1947; Fisher, The
      Design of Experiments, 1935, section 21.
    """
    check_values(first, "first")
    check_values(second, "second")
    differences = second - first
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    binary = np.isin([first, second], (0.0, 1.0)).all()
    interval = bootstrap_interval(
        differences, confidence=confidence, num_resamples=num_resamples, seed=seed
    )
    return PairedDifference(
        first=float(first.mean()),
        second=float(second.mean()),
        difference=float(differences.mean()),
        interval=interval,
        p_value=mcnemar_p_value(won, lost)
        if binary
        else sign_flip_p_value(differences, num_flips=num_resamples, seed=seed),
        test=MCNEMAR if binary else SIGN_FLIPS,
        won=won,
        lost=lost,
        tied=len(differences) - won - lost,
    )


def mcnemar_p_value(num_won: int, num_lost: int) -> float:
    """McNemar's exact test, two-sided: is a changed question won as often as lost?

        min(1, 2 P(X <= min(won, lost))),   X ~ Binomial(won + lost, 1/2)

    Questions on which both runs are right, or both wrong, say nothing.

    Args:
      num_won: questions that only the second run has right, at least 0.
      num_lost: questions that only the first run has right, at least 0.

    Returns:
      The p value, in (0, 1]; 1 where nothing has changed.

    Raises:
      ValueError: a number is negative.

    Reference:
      McNemar, Note on the sampling error of the difference between correlated
      proportions or percentages, Psychometrika 12, 1947; the exact form is the sign
      test.
    """
    for name, number in (("num_won", num_won), ("num_lost", num_lost)):
        if number < 0:
            raise ValueError(f"{name}: expected >= 0, got {number}")
    changed = num_won + num_lost
    at_most = sum(math.comb(changed, i) for i in range(min(num_won, num_lost) + 1))
    return min(1.0, 2 * at_most / 2**changed)


@typed
def sign_flip_p_value(
    differences: Float[np.ndarray, " question"],
    *,
    num_flips: int = 10_000,
    seed: int = 0,
) -> float:
    """Paired permutation test, two-sided, of a mean difference of zero.

        (1 + #{b : |Σ_i ±_bi d_i| >= |Σ_i d_i|}) / (1 + B)

    If the runs are equally good, each question's two scores might as well be swapped,
    which flips the sign of d_i: the B sums are of signs that are drawn with equal
    chance.

    Args:
      differences: d, of each question.
      num_flips: B, at least 1.
      seed: of the signs. What comes out does not depend on the questions' order.

    Returns:
      The p value, in [1 / (1 + B), 1]; 1 where all differences are zero.

    Raises:
      TypeError: differences is not an array of floats.
      ValueError: num_flips is out of its range, or a difference is not finite.

    Reference:
      Fisher, The Design of Experiments, 1935, section 21; the ones that are added:
      Phipson and Smyth, 2010, https://arxiv.org/abs/1603.05766.
    """
    check_values(differences, "differences")
    if num_flips < 1:
        raise ValueError(f"num_flips: expected >= 1, got {num_flips}")
    sizes, counts = np.unique(np.abs(differences), return_counts=True)
    observed = abs(float(differences.sum())) - ROUNDING * float(sizes @ counts)
    random = np.random.default_rng(seed)
    as_large = 0
    for number in batch_sizes(num_flips):
        # Of the differences of one size, how many are positive says all.
        positive = random.binomial(counts, 0.5, (number, len(counts)))
        as_large += int((np.abs((2 * positive - counts) @ sizes) >= observed).sum())
    return (1 + as_large) / (1 + num_flips)
