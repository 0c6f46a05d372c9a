"""The best temperature, number of samples and judge, by search in the exact error."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.inference_scaling.theory.errors import error_at
from sophia_jax.inference_scaling.theory.grids import (
    Grid,
    check_above,
    check_at_least,
    nan_unless,
    on_grid,
)
from sophia_jax.types import Array, Float, typed

__all__ = ["best_reward_gap", "optimal_num_samples", "optimal_temperature"]

NUM_POINTS, NUM_ROUNDS = 32, 4  # of a search: to 2e-5 of where it began
EQUAL = 1e-7  # relative; two errors closer than this are not told apart
LARGEST_K = 1e6  # beyond which only k = inf is looked at


@typed
def optimal_temperature(
    *, teacher_gap: Grid, reward_gap: Grid, predictive_std: Grid, num_samples: Grid
) -> Float[Array, "*grid"]:
    """The temperature at which the error of k answers is least: argmin_T δ(k, T).

    Found in the exact error: T = 0 and inf are compared with the best of T / 2s² from
    1e-4 to 1e6. Near its minimum the error hardly changes, so T is right to 1e-3 or so,
    and the error there to 1e-6.

    Args:
      teacher_gap, reward_gap, predictive_std, num_samples: as in `expected_error`.

    Returns:
      T in units of reward: 0 where best-of-k is best, inf where a random answer is;
      0 too where all are equal, as for k = 1. nan where a traced argument is out of
      range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.
    """
    check_above(0, predictive_std=predictive_std)
    check_at_least(1, num_samples=num_samples)
    return _search_temperature(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        num_samples=num_samples,
    )


@typed
def optimal_num_samples(
    *, teacher_gap: Grid, reward_gap: Grid, predictive_std: Grid, temperature: Grid
) -> Float[Array, "*grid"]:
    """The whole number of answers at which the error is least: argmin_k δ(k, T).

    Found in the exact error, up to a million answers.

    Args:
      teacher_gap, reward_gap, predictive_std, temperature: as in `expected_error`.

    Returns:
      k as a float; inf where no such k is better than infinitely many answers by 1e-7
      of the error, and 1 at T = inf, where all are equal. nan where a traced argument
      is out of range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.
    """
    check_above(0, predictive_std=predictive_std)
    check_at_least(0, temperature=temperature)
    return _search_num_samples(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        temperature=temperature,
    )


@typed
def best_reward_gap(
    *, teacher_gap: Grid, predictive_std: Grid, num_samples: Grid, temperature: Grid
) -> Float[Array, "*grid"]:
    """The judge under whom the error is least: argmin over Δ_R of δ(k, T).

        Δ_R = (1 + t) Δ_T at k = inf, so y_R = y_T - t (m - y_T),   t = T / 2s²

    At T > 0 the best judge is not the teacher: it prefers answers beyond the right one,
    on the far side of the mean answer, the more so the fewer answers there are.

    Args:
      teacher_gap, predictive_std: as in `expected_error`.
      num_samples: k > 1, inf included.
      temperature: T >= 0, finite: at T = inf no judge matters.

    Returns:
      Δ_R, found in the exact error up to 1e3 times its value at k = inf; inf, with the
      sign of Δ_T, where the error still falls there, and 0 where Δ_T is 0. nan where a
      traced argument is out of range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905; for finite k
      numerically.
    """
    check_above(0, predictive_std=predictive_std)
    check_above(1, num_samples=num_samples)
    check_at_least(0, temperature=temperature)
    if np.any(np.isinf(_known(temperature))):
        raise ValueError("temperature: expected a finite one, got inf")
    return _search_reward_gap(
        teacher_gap=teacher_gap,
        predictive_std=predictive_std,
        num_samples=num_samples,
        temperature=temperature,
    )


def _known(number: Grid) -> np.ndarray:
    if isinstance(number, jax.core.Tracer):
        return np.zeros(())
    return np.asarray(number, np.float64)


def _least(
    error: Callable[[Array], Array], low: float, high: float
) -> tuple[Array, Array]:
    """Where an error is least between two ends: on a grid, and on ever finer ones."""

    def narrowed(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        start, stop, _, _ = state
        points = start + (stop - start) * jnp.linspace(0.0, 1.0, NUM_POINTS)
        errors = jax.lax.map(error, points)
        best = jnp.argmin(errors)
        around = jnp.clip(jnp.stack([best - 1, best + 1]), 0, NUM_POINTS - 1)
        return points[around[0]], points[around[1]], points[best], errors[best]

    ends = jnp.asarray(low), jnp.asarray(high)
    state = (*ends, ends[0], jnp.asarray(jnp.inf))
    *_, least, at_least = jax.lax.fori_loop(0, NUM_ROUNDS, narrowed, state)
    return least, at_least


@on_grid
def _search_temperature(
    teacher_gap: Array, reward_gap: Array, predictive_std: Array, num_samples: Array
) -> Array:
    unit = 2 * predictive_std**2

    def error(log_t: Array) -> Array:
        temperature = unit * jnp.exp(log_t)
        return error_at(
            teacher_gap, reward_gap, predictive_std, num_samples, temperature
        )

    log_t, least = _least(error, np.log(1e-4), np.log(1e6))
    cold, hot = jax.lax.map(error, jnp.array([-jnp.inf, jnp.inf]))
    best = jnp.where(hot <= least * (1 + EQUAL), jnp.inf, unit * jnp.exp(log_t))
    is_coldest = cold <= jnp.minimum(least, hot) * (1 + EQUAL)
    is_coldest |= num_samples == 1
    return nan_unless(~jnp.isnan(cold), jnp.where(is_coldest, 0.0, best))


@on_grid
def _search_num_samples(
    teacher_gap: Array, reward_gap: Array, predictive_std: Array, temperature: Array
) -> Array:
    def error(num_samples: Array) -> Array:
        return error_at(
            teacher_gap, reward_gap, predictive_std, num_samples, temperature
        )

    log_k, _ = _least(lambda log_k: error(jnp.exp(log_k)), 0.0, np.log(LARGEST_K))
    near = jnp.floor(jnp.exp(log_k)) + jnp.arange(-1.0, 3.0)
    near = jnp.append(jnp.clip(near, 1.0, LARGEST_K), jnp.inf)
    errors = jax.lax.map(error, near)
    errors, endless = errors[:-1], errors[-1]
    best = jnp.argmin(errors)
    is_inf = endless <= errors[best] * (1 + EQUAL)
    found = jnp.where(is_inf, jnp.inf, near[best])
    found = jnp.where(jnp.isinf(temperature), 1.0, found)
    return nan_unless(~jnp.isnan(endless), found)


@on_grid
def _search_reward_gap(
    teacher_gap: Array, predictive_std: Array, num_samples: Array, temperature: Array
) -> Array:
    limit = (1 + temperature / (2 * predictive_std**2)) * teacher_gap

    def error(log_factor: Array) -> Array:
        reward_gap = limit * jnp.exp(log_factor)
        return error_at(
            teacher_gap, reward_gap, predictive_std, num_samples, temperature
        )

    top = np.log(1e3)
    log_factor, least = _least(error, -0.5, top)
    found = jnp.where(log_factor >= top, jnp.inf, jnp.exp(log_factor)) * limit
    is_exact = jnp.isinf(num_samples) | (temperature == 0) | (teacher_gap == 0)
    is_good = (num_samples > 1) & jnp.isfinite(temperature) & ~jnp.isnan(least)
    return nan_unless(is_good, jnp.where(is_exact, limit, found))
