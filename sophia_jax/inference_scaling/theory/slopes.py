"""What more answers are worth, and what more data are: slopes of the log error."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sophia_jax.inference_scaling.theory.equivalents import deterministic_equivalent
from sophia_jax.inference_scaling.theory.errors import error_at
from sophia_jax.inference_scaling.theory.expansions import mean_best_of_k_coefficient
from sophia_jax.inference_scaling.theory.grids import (
    Grid,
    check_above,
    check_at_least,
    nan_unless,
    on_grid,
)
from sophia_jax.types import Array, Float, Scalar, typed

__all__ = ["data_slope", "samples_slope"]


@typed
def samples_slope(
    *,
    teacher_gap: Grid,
    reward_gap: Grid,
    predictive_std: Grid,
    num_samples: Grid,
    temperature: Grid,
) -> Float[Array, "*grid"]:
    """How fast the error falls with more answers: ∂ log δ / ∂ log k.

    With the teacher as judge and T = 0 it goes to -2. It is the derivative of
    `expected_error`.

    Args:
      teacher_gap, reward_gap, predictive_std, temperature: as in `expected_error`.
      num_samples: k >= 1, finite; need not be whole. At inf the slope is given as 0.

    Returns:
      The slope, on the grid of the arguments together; nan where a traced argument is
      out of range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.
    """
    check_above(0, predictive_std=predictive_std)
    check_at_least(1, num_samples=num_samples)
    check_at_least(0, temperature=temperature)
    return _samples_slope(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        num_samples=num_samples,
        temperature=temperature,
    )


@typed
def data_slope(
    covariance_eigenvalues: Float[Array, " dim"],
    teacher: Float[Array, " dim"],
    *,
    num_data: Scalar,
    noise_std: Scalar,
    prior_std: Scalar,
    corrected: bool = True,
) -> Float[Array, ""]:
    """How fast the error of best-of-k falls with more data: ∂ log δ / ∂ log n.

    Of the teacher's error for large k, averaged over questions, at fixed d:

        δ = π s² / (k² sqrt(1 - 2 v / s²)),   corrected
        δ = π σ² / (k² sqrt(1 - 2 q / σ²)),   as in the paper, for R and s² - σ² small

    The paper's gives -α ∂_α(u' Σ u) / (σ² d - 2 u' Σ u), α = d / n. What it leaves out,
    that the mean answer varies with the data and that more data make answers less
    uncertain, is often larger by orders of magnitude. More answers have slope -2.

    Args:
      covariance_eigenvalues, teacher, num_data, noise_std, prior_std: as in
        `deterministic_equivalent`.
      corrected: whether with v and s², or with q and σ² as in the paper.

    Returns:
      The slope.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete argument is out of range, or the mean over questions does
        not exist.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905, remark 6.
    """

    def variances(log_n: Array) -> tuple[Array, Array]:
        found = deterministic_equivalent(
            wide[0],
            wide[1],
            num_data=jnp.exp(log_n),
            noise_std=wide[3],
            prior_std=wide[4],
        )
        variance = found.s2 if corrected else wide[3] ** 2
        return (found.v if corrected else found.q), variance

    def log_error(log_n: Array) -> Array:
        gap_variance, variance = variances(log_n)
        return jnp.log(
            mean_best_of_k_coefficient(
                gap_variance=gap_variance, predictive_std=jnp.sqrt(variance)
            )
        )

    check_above(0, num_data=num_data, noise_std=noise_std, prior_std=prior_std)
    given = (covariance_eigenvalues, teacher, num_data, noise_std, prior_std)
    dtype = jnp.promote_types(jnp.result_type(float, *given), jnp.float32)
    with jax.enable_x64(True):
        wide = [jnp.asarray(each, jnp.float64) for each in given]
        log_n = jnp.log(wide[2])
        log_error(log_n)  # where all is concrete, what is out of range is refused here
        return jax.grad(log_error)(log_n).astype(dtype)


@on_grid
def _samples_slope(
    teacher_gap: Array,
    reward_gap: Array,
    predictive_std: Array,
    num_samples: Array,
    temperature: Array,
) -> Array:
    def error(num_samples: Array) -> Array:
        return error_at(
            teacher_gap, reward_gap, predictive_std, num_samples, temperature
        )

    one = jnp.ones_like(num_samples)
    value, change = jax.jvp(error, (num_samples,), (one,))
    is_endless = jnp.isinf(num_samples)
    slope = jnp.where(is_endless, 0.0, num_samples) * change / value
    return nan_unless(~jnp.isnan(value), jnp.where(is_endless, 0.0, slope))
