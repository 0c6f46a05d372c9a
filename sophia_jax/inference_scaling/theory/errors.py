"""The exact error of reward-weighted sampling: any k, any temperature."""

from __future__ import annotations

import jax.numpy as jnp

from sophia_jax.inference_scaling.theory.grids import (
    Grid,
    check_above,
    check_at_least,
    in_float64,
    nan_unless,
    on_grid,
)
from sophia_jax.inference_scaling.theory.quadrature import scaled_error
from sophia_jax.types import Array, Float, typed

__all__ = ["error_at", "expected_error", "infinite_samples_error"]


@typed
def expected_error(
    *,
    teacher_gap: Grid,
    reward_gap: Grid,
    predictive_std: Grid,
    num_samples: Grid,
    temperature: Grid,
) -> Float[Array, "*grid"]:
    """The mean squared error of one of k answers, chosen by a judge.

        δ(k, T) = E[sum_i p_i (y_i - y_T)²],   y_1 .. y_k ~ N(m, s²),
        p_i in proportion to e^(-(y_i - y_R)² / T)

    It is exact: right to 1e-8 of itself in float64, for T / 2s² from 1e-3 to 1e3 and k
    up to 1e4 at least; what comes out is rounded to JAX's precision. T = 0 is best-of-k
    and T = inf one answer at random; k = inf is `infinite_samples_error`. It may be
    differentiated in everything; at T = 0, T = inf and k = inf the derivatives in T and
    k are given as 0.

    Args:
      teacher_gap: Δ_T = m - y_T, the mean answer less the right one.
      reward_gap: Δ_R = m - y_R, the mean answer less the judge's favourite.
      predictive_std: s > 0, the spread of answers.
      num_samples: k >= 1, inf included; need not be whole.
      temperature: T >= 0 in units of reward, inf included; not t = T / 2s².

    Returns:
      δ, on the grid of the arguments together; nan where a traced one is out of range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905; as the smallest of k
      Gumbel-perturbed distances, see `quadrature.py`.
    """
    check_above(0, predictive_std=predictive_std)
    check_at_least(1, num_samples=num_samples)
    check_at_least(0, temperature=temperature)
    return _expected_error(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        num_samples=num_samples,
        temperature=temperature,
    )


@typed
def infinite_samples_error(
    *, teacher_gap: Grid, reward_gap: Grid, predictive_std: Grid, temperature: Grid
) -> Float[Array, "*grid"]:
    """The error with infinitely many answers to choose from, at fixed temperature.

        δ_∞ = s² t / (1 + t) + (Δ_T - Δ_R / (1 + t))²,   t = T / 2s²

    The choice then is a draw from the product of the Gaussian of the answers and the
    judge's weight.

    Args:
      teacher_gap, reward_gap, predictive_std, temperature: as in `expected_error`.

    Returns:
      δ_∞, on the grid of the arguments together; nan where a traced one is out of
      range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.
    """
    check_above(0, predictive_std=predictive_std)
    check_at_least(0, temperature=temperature)
    return _infinite_samples_error(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        temperature=temperature,
    )


def error_at(
    teacher_gap: Array,
    reward_gap: Array,
    predictive_std: Array,
    num_samples: Array,
    temperature: Array,
) -> Array:
    """δ at one point, in float64; nan out of range."""
    variance = predictive_std**2
    is_good = (predictive_std > 0) & (num_samples >= 1) & (temperature >= 0)
    is_finite = is_good & jnp.isfinite(num_samples) & jnp.isfinite(temperature)
    spread = jnp.where(is_finite, predictive_std, 1.0)
    sign = jnp.where(reward_gap < 0, -1.0, 1.0)
    finite = variance * scaled_error(
        sign * reward_gap / spread,
        sign * (teacher_gap - reward_gap) / spread,
        jnp.where(is_finite, temperature, 1.0) / spread**2,
        jnp.where(is_finite, num_samples, 1.0),
    )
    limit = _infinite_at(teacher_gap, reward_gap, predictive_std, temperature)
    random = variance + teacher_gap**2
    ends = jnp.where(jnp.isinf(temperature), random, limit)
    return nan_unless(is_good, jnp.where(is_finite, finite, ends))


def _infinite_at(
    teacher_gap: Array, reward_gap: Array, predictive_std: Array, temperature: Array
) -> Array:
    variance = predictive_std**2
    is_hot = jnp.isinf(temperature)
    t = jnp.where(is_hot, 1.0, temperature) / (2 * variance)
    limit = variance * t / (1 + t) + (teacher_gap - reward_gap / (1 + t)) ** 2
    return jnp.where(is_hot, variance + teacher_gap**2, limit)


_expected_error = on_grid(error_at)


@in_float64
def _infinite_samples_error(
    *, teacher_gap: Array, reward_gap: Array, predictive_std: Array, temperature: Array
) -> Array:
    limit = _infinite_at(teacher_gap, reward_gap, predictive_std, temperature)
    return nan_unless((predictive_std > 0) & (temperature >= 0), limit)
