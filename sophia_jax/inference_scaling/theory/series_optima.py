"""The best temperature and number of samples, by the second-order series."""

from __future__ import annotations

import jax.numpy as jnp

from sophia_jax.inference_scaling.theory.expansions import series_coefficients
from sophia_jax.inference_scaling.theory.grids import (
    Grid,
    check_above,
    in_float64,
    nan_unless,
)
from sophia_jax.types import Array, Float, typed

__all__ = ["series_optimal_num_samples", "series_optimal_temperature"]


@typed
def series_optimal_temperature(
    *, teacher_gap: Grid, reward_gap: Grid, predictive_std: Grid, num_samples: Grid
) -> Float[Array, "*grid"]:
    """The best temperature by the second-order series: T = 2s² t.

        t = 2 (1 - 2/k) C_2 / C_1

    It is of use where it is large, t >= 20; `optimal_temperature` is exact.

    Args:
      teacher_gap, reward_gap, predictive_std: as in `high_temperature_series`.
      num_samples: k > 2, inf included.

    Returns:
      T in units of reward; nan where C_1 or C_2 is not positive, so that the series has
      no minimum, or where a traced argument is out of range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905, remark 4.
    """
    check_above(0, predictive_std=predictive_std)
    check_above(2, num_samples=num_samples)
    return _series_optimal_temperature(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        num_samples=num_samples,
    )


@typed
def series_optimal_num_samples(
    *, teacher_gap: Grid, reward_gap: Grid, predictive_std: Grid, temperature: Grid
) -> Float[Array, "*grid"]:
    """The best number of samples by the second-order series, as a real number.

        k = 4 C_2 / (3 C_2 - C_1 t),   inf where t >= 3 C_2 / C_1

    Whether there is a finite best is told well, where it lies only by its order of
    magnitude, and too low near the threshold; `optimal_num_samples` is exact.

    Args:
      teacher_gap, reward_gap, predictive_std: as in `high_temperature_series`.
      temperature: T > 0 in units of reward.

    Returns:
      k >= 1; nan where C_2 is not positive, or where a traced argument is out of range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905, remark 3, whose
      threshold this has; the location derived.
    """
    check_above(0, predictive_std=predictive_std, temperature=temperature)
    return _series_optimal_num_samples(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        temperature=temperature,
    )


@in_float64
def _series_optimal_temperature(
    *, teacher_gap: Array, reward_gap: Array, predictive_std: Array, num_samples: Array
) -> Array:
    variance = predictive_std**2
    c_1, c_2 = series_coefficients(teacher_gap, reward_gap, variance)
    best = 4 * variance * (1 - 2 / num_samples) * c_2 / c_1
    is_good = (predictive_std > 0) & (num_samples > 2) & (c_1 > 0) & (c_2 > 0)
    return nan_unless(is_good, best)


@in_float64
def _series_optimal_num_samples(
    *, teacher_gap: Array, reward_gap: Array, predictive_std: Array, temperature: Array
) -> Array:
    variance = predictive_std**2
    c_1, c_2 = series_coefficients(teacher_gap, reward_gap, variance)
    slope = 3 * c_2 - c_1 * temperature / (2 * variance)
    best = jnp.where(slope > 0, 4 * c_2 / jnp.where(slope > 0, slope, 1.0), jnp.inf)
    is_good = (predictive_std > 0) & (temperature > 0) & (c_2 > 0)
    return nan_unless(is_good, jnp.maximum(best, 1.0))
