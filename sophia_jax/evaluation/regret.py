"""How regret and switches grow, with intervals from a bootstrap over seeds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from sophia_jax.types import Float, Int

__all__ = [
    "growth_of_switches",
    "log_log_slope",
    "regret_band",
    "regret_difference",
    "switches_by_decade",
    "switches_per_decade",
]

NUM_RESAMPLES = 1000
Interval = tuple[float, float]
Fitted = tuple[float, Interval | None]


def log_log_slope(
    steps: Int[np.ndarray, " record"],
    regret: Float[np.ndarray, "seed record"],
    *,
    seed: int = 0,
) -> Fitted | None:
    """The exponent of regret over the second half of the steps.

        log mean_seed Reg(t) = a + slope log t,   t >= T / 2

    1 for an agent that learns nothing more, 1/2 for sqrt(T), 0 for one that has found
    the best policy.

    Args:
      steps: t of each record.
      regret: of each seed until then.
      seed: of the bootstrap.

    Returns:
      The slope and its 95 % interval (None of a single seed); None where the mean
      regret of the second half is not positive, as that of the best policy is.
    """
    late = steps >= steps[-1] / 2
    places, curves = np.log(steps[late]), regret[:, late]

    def slopes(means: np.ndarray) -> np.ndarray:
        return _slopes(places, np.log(np.maximum(means, 1e-6)))

    if late.sum() < 2 or (curves.mean(0) <= 0).any():
        return None
    return _bootstrap(curves, slopes, seed)


def switches_per_decade(
    num_steps: int,
    switch_step: list[np.ndarray],
    *,
    seed: int = 0,
) -> Fitted | None:
    """How many switches come with each factor of ten: the fit against log T.

        mean_seed N(t) = a + b log10 t,   T / 100 <= t <= T

    Args:
      num_steps: T.
      switch_step: after how many steps each switch was, of each seed.
      seed: of the bootstrap.

    Returns:
      b and its 95 % interval (None of a single seed); None where T < 100.
    """
    if num_steps < 100:
        return None
    places = np.geomspace(num_steps / 100, num_steps, 41)
    counts = [np.searchsorted(np.sort(s), places, side="right") for s in switch_step]
    fit = functools.partial(_slopes, np.log10(places))
    return _bootstrap(np.asarray(counts, float), fit, seed)


def switches_by_decade(
    num_steps: int, switch_step: list[np.ndarray]
) -> Float[np.ndarray, "seed 2"]:
    """How many switches each seed made in (T/100, T/10], and in (T/10, T]."""
    edges = np.array([num_steps / 100, num_steps / 10, num_steps])
    until = [np.searchsorted(np.sort(s), edges, side="right") for s in switch_step]
    return np.diff(np.asarray(until, float), axis=1)


def growth_of_switches(
    num_steps: int,
    switch_step: list[np.ndarray],
    *,
    seed: int = 0,
) -> Fitted | None:
    """Whether switches come faster than log T: 0 for log T, a for T^a.

        log10 ((n(T/10, T] + 1/2) / (n(T/100, T/10] + 1/2))

    of the switches n of all seeds in the last two decades of steps.

    Args:
      num_steps, switch_step, seed: as in `switches_per_decade`.

    Returns:
      The exponent and its 95 % interval (None of a single seed); None where T < 100.
    """
    if num_steps < 100:
        return None
    counts = switches_by_decade(num_steps, switch_step)
    half = 0.5 / len(counts)

    def exponents(means: np.ndarray) -> np.ndarray:
        return np.log10((means[..., 1] + half) / (means[..., 0] + half))

    return _bootstrap(counts, exponents, seed)


def regret_band(
    regret: Float[np.ndarray, "seed record"], *, seed: int = 0
) -> dict[str, list[float]]:
    """Mean regret at each record, with 95 % intervals at each.

    Returns:
      `mean`, `low` and `high`; the same of a single seed.
    """
    mean = regret.mean(0)
    low, high = mean, mean
    if len(regret) > 1:
        means = _resampled(regret, seed)
        low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return {"mean": mean.tolist(), "low": low.tolist(), "high": high.tolist()}


def regret_difference(
    first: Float[np.ndarray, " seed"],
    second: Float[np.ndarray, " other_seed"],
    *,
    seed: int = 0,
) -> Fitted:
    """Mean regret of one agent less that of another, each with seeds of its own.

    Returns:
      The difference and its 95 % interval; None where either has a single seed.
    """
    apart = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return apart, None
    means = _resampled(first[:, None], seed) - _resampled(second[:, None], seed + 1)
    low, high = np.quantile(means, [0.025, 0.975])
    return apart, (float(low), float(high))


def _slopes(places: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Least squares of the last axis on the places."""
    centered = places - places.mean()
    return heights @ centered / (centered @ centered)


def _resampled(rows: np.ndarray, seed: int) -> np.ndarray:
    """Means of rows that are drawn with return, [resample column]."""
    random = np.random.default_rng(seed)
    shares = random.multinomial(
        len(rows), np.full(len(rows), 1 / len(rows)), NUM_RESAMPLES
    )
    return shares @ rows / len(rows)


def _bootstrap(
    rows: np.ndarray, measure: Callable[[np.ndarray], np.ndarray], seed: int
) -> Fitted:
    """A measure of the mean over seeds, and of means over seeds drawn again."""
    value = float(measure(rows.mean(0)))
    if len(rows) < 2:
        return value, None
    low, high = np.quantile(measure(_resampled(rows, seed)), [0.025, 0.975])
    return value, (float(low), float(high))
