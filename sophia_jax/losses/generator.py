"""What f-DPO needs of a convex f that is given as a function."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.losses.log_space import bounded_exp
from sophia_jax.types import Array

__all__ = ["generator_functions"]

REACH = 80.0  # nats to either side within which f itself is asked
FARTHEST = 700.0  # nats, in float64, to see what becomes of f' at 0
LARGEST = 1e35  # of f' and its slope in float32: a thousand nats more still fit
NODES, WEIGHTS = (np.asarray(x, np.float32) for x in np.polynomial.legendre.leggauss(8))
STENCIL = 2.0**-4  # nats


def generator_functions(f: Callable[[Array], Array]) -> dict[str, Callable]:
    """The functions of a `Family`.

    Raises:
      ValueError: as of `divergence_from_generator`.
    """
    first, last = _checked_range(f)
    f_prime = jnp.vectorize(jax.grad(f))

    def within(ratio: Array) -> Array:
        return f_prime(jnp.exp(ratio))

    def slope(ratio: Array) -> Array:
        ratio = jnp.clip(ratio, first, last)
        exact = jax.jvp(within, (ratio,), (jnp.ones_like(ratio),))[1]
        # Where u^-2 overflows on the way to it, as far from 0 as it is itself.
        near = [within(ratio + k * STENCIL) for k in (-2, -1, 1, 2)]
        by_differences = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (
            12 * STENCIL
        )
        value = jnp.where(jnp.isfinite(exact), exact, by_differences)
        return jnp.maximum(value, jnp.finfo(value.dtype).tiny)

    def derivative(ratio: Array) -> Array:
        inside = jnp.clip(ratio, first, last)
        return within(inside) + slope(inside) * (ratio - inside)

    def log_difference(high: Array, low: Array) -> Array:
        apart = high - low
        middle, half = low + apart / 2, jnp.minimum(apart, 1) / 2
        integral = half * sum(
            weight * slope(middle + half * node)
            for node, weight in zip(NODES, WEIGHTS, strict=True)
        )
        difference = derivative(high) - derivative(low)
        return jnp.log(jnp.where(apart <= 1, integral, jnp.maximum(difference, 0)))

    def lowered(ratio: Array, drop: Array) -> Array:
        def enough(width: Array) -> Array:
            return log_difference(ratio, ratio - width) >= jnp.log(drop)

        def halved(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            less, more = bracket
            width = (less + more) / 2
            fits = enough(width)
            return jnp.where(fits, less, width), jnp.where(fits, width, more)

        widest = jax.lax.fori_loop(
            0,
            100,
            lambda _, width: jnp.where(enough(width), width, 2 * width),
            jnp.ones_like(ratio - drop),
        )
        bracket = jnp.zeros_like(widest), widest
        return ratio - jax.lax.fori_loop(0, 60, halved, bracket)[1]

    def penalty(ratio: Array) -> Array:
        inside = jnp.clip(ratio, -REACH, REACH)
        u = jnp.exp(inside)
        tangent = f(jnp.ones(())) + jax.grad(f)(jnp.ones(())) * (u - 1)
        above = jnp.maximum(jnp.vectorize(f)(u) - tangent, 0) / u
        return above * bounded_exp(jnp.maximum(inside - ratio, 0))

    return {
        "derivative": derivative,
        "log_slope": lambda ratio: jnp.log(slope(ratio)),
        "log_difference": log_difference,
        "lowered": lowered,
        "penalty": penalty,
    }


def _checked_range(f: Callable[[Array], Array]) -> tuple[float, float]:
    """The log-ratios within which float32 holds f' and its slope.

    Raises:
      ValueError: f' does not increase, or stays finite at 0.
    """
    grid = np.arange(-REACH, REACH + 1, dtype=np.float64)
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        f_prime = jnp.vectorize(jax.grad(f))

        def at(ratio: np.ndarray) -> np.ndarray:
            return np.asarray(f_prime(jnp.exp(jnp.asarray(ratio))))

        values = at(grid)
        far = at(-FARTHEST * 2.0 ** np.arange(-2, 1))
    unknown = np.isnan(values)
    if unknown.any():
        place = np.exp(grid[unknown][0])
        raise ValueError(
            f"f: expected a derivative at each u > 0, got nan at {place:.3g}"
        )
    _check_increasing(grid, values)
    _check_steep_at_zero(far)
    # The slope between neighbours bounds that at either of them, all but a factor e.
    steps = np.diff(values)
    fits = (np.abs(values[1:]) < LARGEST) & (np.abs(values[:-1]) < LARGEST)
    fits &= steps < LARGEST
    around_one = len(steps) // 2
    left = np.flatnonzero(~fits[:around_one])
    right = np.flatnonzero(~fits[around_one:])
    first = grid[left[-1] + 1] if len(left) else grid[0]
    last = grid[around_one + right[0]] if len(right) else grid[-1]
    return float(first), float(last)


def _check_increasing(grid: np.ndarray, values: np.ndarray) -> None:
    """Far out rounding may hide an increase, but nothing may decrease."""
    steps = np.diff(values)
    rounding = 1e-9 * np.maximum(np.abs(values[1:]), np.abs(values[:-1]))
    near_one = (grid[:-1] >= -8) & (grid[:-1] < 8)
    bad = (steps < -rounding) | (near_one & (steps <= 0))
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        u, v = np.exp(grid[place : place + 2])
        raise ValueError(
            f"f: expected a derivative that strictly increases, so that rewards can be "
            f"told from the optimum, got f'({u:.3g}) = {values[place]:.6g} and "
            f"f'({v:.3g}) = {values[place + 1]:.6g}"
        )


def _check_steep_at_zero(far: np.ndarray) -> None:
    """f' must fall by as much again whenever log u doubles: it has no limit then."""
    if np.isneginf(far[-1]):
        return
    before, after = far[0] - far[1], far[1] - far[2]
    if not after > 0.9 * before or not after > 1e-9 * abs(far[1]):
        raise ValueError(
            f"f: expected a derivative that goes to -inf at 0, else the optimum is 0 "
            f"somewhere and tells nothing of the reward there, got "
            f"f'(e^-{FARTHEST:.0f}) = {far[-1]:.6g}"
        )
