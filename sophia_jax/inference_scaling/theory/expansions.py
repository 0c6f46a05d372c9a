"""Closed forms of the error: at high temperature, and best-of-k of many answers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from sophia_jax.inference_scaling.theory.grids import (
    Grid,
    check_above,
    check_at_least,
    in_float64,
    is_concrete,
    nan_unless,
)
from sophia_jax.types import Array, Float, typed

__all__ = [
    "best_of_k_coefficient",
    "high_temperature_series",
    "mean_best_of_k_coefficient",
    "series_coefficients",
]

ORDERS = (1, 2, 3)


@typed
def high_temperature_series(
    *,
    teacher_gap: Grid,
    reward_gap: Grid,
    predictive_std: Grid,
    num_samples: Grid,
    temperature: Grid,
    order: int = 3,
) -> Float[Array, "*grid"]:
    """The error as a series in 1 / t = 2s² / T, for any k.

        δ = Δ_T² + s² - (1 - 1/k) C_1 / t + (1 - 1/k)(1 - 2/k) C_2 / t²
            - (1 - 1/k) [(1 - 6/k + 6/k²) κ_4 - (6/k) κ_hg κ_gg] / (48 s⁶ t³)
        C_1 = s² + 2 Δ_T Δ_R,   C_2 = C_1 + Δ_R²
        κ_4 = 48 s⁸ + 96 s⁶ Δ_R (Δ_T + Δ_R),   κ_hg = 2 s⁴ + 4 Δ_T Δ_R s²,
        κ_gg = 2 s⁴ + 4 Δ_R² s²

    It is asymptotic: of use where t is far above 1 and (Δ_R / s)²; below, a higher
    order may be worse. The third order is not the one in the authors' code, which is
    right for k = inf only: the cumulants of k samples mix κ_4 with κ_hg κ_gg.

    Args:
      teacher_gap: Δ_T = m - y_T, the mean answer less the right one.
      reward_gap: Δ_R = m - y_R, the mean answer less the judge's favourite.
      predictive_std: s > 0, the spread of answers.
      num_samples: k >= 1, inf included.
      temperature: T > 0 in units of reward, inf included.
      order: the last power of 1 / t, 1 to 3.

    Returns:
      The partial sum, on the grid of the arguments together; nan where a traced one is
      out of range.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905, result 2; the third
      order derived.
    """
    check_above(0, predictive_std=predictive_std, temperature=temperature)
    check_at_least(1, num_samples=num_samples)
    if order not in ORDERS:
        raise ValueError(f"order: expected 1, 2 or 3, got {order}")
    first, second, third = (float(order >= power) for power in ORDERS)

    @in_float64
    def series(
        teacher_gap: Array,
        reward_gap: Array,
        predictive_std: Array,
        num_samples: Array,
        temperature: Array,
    ) -> Array:
        variance, share = predictive_std**2, 1 / num_samples
        colder = 2 * variance / temperature
        c_1, c_2 = series_coefficients(teacher_gap, reward_gap, variance)
        total = teacher_gap**2 + variance - first * (1 - share) * c_1 * colder
        total += second * (1 - share) * (1 - 2 * share) * c_2 * colder**2
        c_3 = _third_coefficient(teacher_gap, reward_gap, variance, share)
        total -= third * (1 - share) * c_3 * colder**3
        is_good = (predictive_std > 0) & (num_samples >= 1) & (temperature > 0)
        return nan_unless(is_good, total)

    return series(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        num_samples=num_samples,
        temperature=temperature,
    )


@typed
def best_of_k_coefficient(
    *, teacher_gap: Grid, reward_gap: Grid | None = None, predictive_std: Grid
) -> Float[Array, "*grid"]:
    """How the error of best-of-k approaches its floor: k² (δ - floor) for large k.

        δ = (Δ_T - Δ_R)² + (π s² e^(Δ_R² / s²) / k²) [1 + 2 Δ_R (Δ_T - Δ_R) / s²]

    Without a `reward_gap` the judge is the teacher, and δ = π s² e^(Δ_T² / s²) / k². A
    negative coefficient says that the floor is approached from below, so that some
    finite k is best.

    Args:
      teacher_gap: Δ_T = m - y_T, the mean answer less the right one.
      reward_gap: Δ_R = m - y_R, the mean answer less the judge's favourite; None for a
        judge who knows the right answer.
      predictive_std: s > 0, the spread of answers.

    Returns:
      The coefficient of 1 / k², on the grid of the arguments together; nan where a
      traced spread is not positive.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete spread is not positive.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905, result 3; with a
      misspecified judge derived.
    """
    check_above(0, predictive_std=predictive_std)
    favourite = teacher_gap if reward_gap is None else reward_gap
    return _best_of_k_coefficient(
        teacher_gap=teacher_gap, reward_gap=favourite, predictive_std=predictive_std
    )


@typed
def mean_best_of_k_coefficient(
    *, gap_variance: Grid, predictive_std: Grid
) -> Float[Array, "*grid"]:
    """The teacher's best-of-k coefficient, averaged over questions.

        E[π s² e^(Δ_T² / s²)] = π s² / sqrt(1 - 2 q / s²),   Δ_T ~ N(0, q)

    At 2q >= s² the mean does not exist: hard questions are so frequent that the error
    falls more slowly than 1 / k².

    Args:
      gap_variance: q >= 0 of the deterministic equivalent, or v, which also knows how
        far the mean answer varies with the data.
      predictive_std: s > 0, the spread of answers.

    Returns:
      k² δ for large k, on the grid of the arguments together; nan where a traced
      argument is out of range, or the mean does not exist.

    Raises:
      TypeError: shapes do not go together.
      ValueError: a concrete argument is out of range, or 2q >= s².

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905, remark 5.
    """
    check_above(0, predictive_std=predictive_std)
    check_at_least(0, gap_variance=gap_variance)
    _check_mean_exists(gap_variance, predictive_std)
    return _mean_best_of_k_coefficient(
        gap_variance=gap_variance, predictive_std=predictive_std
    )


def series_coefficients(
    teacher_gap: Array, reward_gap: Array, variance: Array
) -> tuple[Array, Array]:
    """C_1 and C_2."""
    c_1 = variance + 2 * teacher_gap * reward_gap
    return c_1, c_1 + reward_gap**2


def _third_coefficient(
    teacher_gap: Array, reward_gap: Array, variance: Array, share: Array
) -> Array:
    """[(1 - 6/k + 6/k²) κ_4 - (6/k) κ_hg κ_gg] / 48 s⁶, with 1/k for the share."""
    both = reward_gap * (teacher_gap + reward_gap)
    fourth = variance + 2 * both  # κ_4 / 48 s⁶
    pairs = (variance + 2 * teacher_gap * reward_gap) * (variance + 2 * reward_gap**2)
    products = pairs / (12 * variance)  # κ_hg κ_gg / 48 s⁶
    return (1 - 6 * share + 6 * share**2) * fourth - 6 * share * products


@in_float64
def _best_of_k_coefficient(
    *, teacher_gap: Array, reward_gap: Array, predictive_std: Array
) -> Array:
    variance = predictive_std**2
    floor = teacher_gap - reward_gap
    size = np.pi * variance * jnp.exp(reward_gap**2 / variance)
    bracket = 1 + 2 * reward_gap * floor / variance
    return nan_unless(predictive_std > 0, size * bracket)


@in_float64
def _mean_best_of_k_coefficient(*, gap_variance: Array, predictive_std: Array) -> Array:
    variance = predictive_std**2
    left = 1 - 2 * gap_variance / variance
    is_good = (predictive_std > 0) & (gap_variance >= 0) & (left > 0)
    root = jnp.sqrt(jnp.where(is_good, left, 1.0))
    return nan_unless(is_good, np.pi * variance / root)


def _check_mean_exists(gap_variance: Grid, predictive_std: Grid) -> None:
    if not is_concrete(gap_variance, predictive_std):
        return
    gap, spread = (np.asarray(x, np.float64) for x in (gap_variance, predictive_std))
    gap, variance = np.broadcast_arrays(gap, spread**2)
    missing = 2 * gap >= variance
    if np.any(missing):
        raise ValueError(
            "gap_variance: expected less than half of predictive_std squared, "
            f"{variance[missing].ravel()[0] / 2:g}, beyond which the mean over "
            f"questions does not exist, got {gap[missing].ravel()[0]:g}"
        )
