"""Who earns more at equal divergence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from sophia_jax.types import Float, typed

__all__ = [
    "NUM_PLACES",
    "frontier",
    "mean_with_interval",
    "reward_at",
    "reward_differences",
]

NUM_PLACES = 50  # between no divergence and the most that both have


@typed
def frontier(
    divergences: Float[np.ndarray, " point"], rewards: Float[np.ndarray, " point"]
) -> Float[np.ndarray, "corner 2"]:
    """The most reward at each divergence that mixtures of some policies reach.

        the least concave function above all (D_i, r_i) and (0, 0), up to the best one

    Who answers with policy i in a share w_i of all cases earns Σ w_i r_i, and is no
    further than Σ w_i D_i from the reference, since D_f is convex.

    Args:
      divergences: D_i >= 0 of each policy.
      rewards: r_i; the reference's own is 0.

    Returns:
      (divergence, reward) of its corners, both rising, from (0, 0) on.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
    """
    corners = [(0.0, 0.0)]
    for place in np.lexsort((-rewards, divergences)):
        point = float(divergences[place]), float(rewards[place])
        if point[1] <= corners[-1][1]:
            continue
        while len(corners) > 1 and _slope(corners[-2], corners[-1]) <= _slope(
            corners[-2], point
        ):
            corners.pop()
        corners.append(point)
    return np.array(corners)


def _slope(first: tuple[float, float], second: tuple[float, float]) -> float:
    run = second[0] - first[0]
    return (second[1] - first[1]) / run if run > 0 else math.inf


@typed
def reward_at(
    corners: Float[np.ndarray, "corner 2"], divergences: Float[np.ndarray, " place"]
) -> Float[np.ndarray, " place"]:
    """The height of a `frontier`; beyond its end it stays as high as there."""
    return np.interp(divergences, corners[:, 0], corners[:, 1])


@typed
def reward_differences(
    first: Float[np.ndarray, "corner 2"], second: Float[np.ndarray, "other_corner 2"]
) -> dict[str, float]:
    """By how much the first frontier is above the second at equal divergence.

    Args:
      first, second: of `frontier`.

    Returns:
      `mean` over all divergences that both have, and the difference at a `quarter`, at
      `half`, and at `all` of the largest of these; and `largest`, that divergence.
    """
    largest = float(min(first[-1, 0], second[-1, 0]))
    places = np.linspace(0, largest, NUM_PLACES + 1)[1:]
    apart = reward_at(first, places) - reward_at(second, places)
    shares = {"quarter": 0.25, "half": 0.5, "all": 1.0}
    return {
        "mean": float(apart.mean()),
        "largest": largest,
        **{n: float(np.interp(s * largest, places, apart)) for n, s in shares.items()},
    }


def mean_with_interval(
    values: Sequence[float], *, confidence: float = 0.95
) -> tuple[float, tuple[float, float] | None]:
    """A mean over seeds, and Student's interval for it.

        mean ± t std / √n,   t of n - 1 degrees of freedom

    Few seeds are no sample to draw from again, so this is not a bootstrap.

    Args:
      values: of each seed.
      confidence: coverage that is aimed at.

    Returns:
      The mean, and the interval's ends; None for a single seed.

    Reference:
      Student, The probable error of a mean, Biometrika 6, 1908.
    """
    mean, number = float(np.mean(values)), len(values)
    if number < 2:
        return mean, None
    error = float(np.std(values, ddof=1)) / math.sqrt(number)
    width = float(stdtrit(number - 1, (1 + confidence) / 2)) * error
    return mean, (mean - width, mean + width)
