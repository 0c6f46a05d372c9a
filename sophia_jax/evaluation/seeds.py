"""Scores of several seeds, each with questions of its own: means and intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sophia_jax.evaluation.metrics import check_values, resampled_means
from sophia_jax.types import Float, typed

__all__ = ["Estimate", "estimate_over_seeds"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and questions.

    Attributes:
      mean: of the seeds' means.
      interval: that `estimate_over_seeds` gives.
      by_seed: mean of each seed.
    """

    mean: float
    interval: tuple[float, float]
    by_seed: tuple[float, ...]

    @property
    def sign(self) -> int:
        """1 or -1 where the interval is on one side of 0; else 0, not decided."""
        low, high = self.interval
        return int(low > 0) - int(high < 0)


@typed
def estimate_over_seeds(
    values: Float[np.ndarray, "seed question"],
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap interval for the mean, over seeds and over their questions.

        the (1 - confidence)/2 and (1 + confidence)/2 quantiles of
        1/S Σ_s 1/n Σ_i x[s*_s, i*_si],
        s*_1 .. s*_S drawn from the seeds, i*_s1 .. i*_sn from the questions

    Both are drawn with return, the questions anew for each seed that is drawn. For two
    runs of the same seeds on the same questions, values are their differences: what
    makes a seed or a question hard for both cancels. Few seeds say little about how
    much seeds differ: with five, such an interval is somewhat too narrow.

    Args:
      values: of each seed's questions, NaN where a question has none.
      confidence: coverage that is aimed at, in (0, 1).
      num_resamples: how often seeds and questions are drawn, at least 1.
      seed: of the draws.

    Raises:
      TypeError: values is no matrix of floats.
      ValueError: an argument is out of its range, or a seed has no value.

    Reference:
      Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected in (0, 1), got {confidence}")
    if num_resamples < 1:
        raise ValueError(f"num_resamples: expected >= 1, got {num_resamples}")
    present = [row[~np.isnan(row)] for row in values]
    if not present:
        raise ValueError("values: expected at least one seed, got none")
    for number, row in enumerate(present):
        check_values(row, f"values of seed {number}")
    rng = np.random.default_rng(seed)
    num_seeds = len(present)
    drawn = rng.integers(num_seeds, size=(num_resamples, num_seeds))
    means = np.empty(drawn.shape)
    for number, row in enumerate(present):
        times = int((drawn == number).sum())
        means[drawn == number] = resampled_means(rng, row, times)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means.mean(axis=1), [tail, 1 - tail])
    by_seed = tuple(float(row.mean()) for row in present)
    return Estimate(float(np.mean(by_seed)), (float(low), float(high)), by_seed)
