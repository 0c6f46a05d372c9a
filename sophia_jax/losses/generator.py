"""What f-DPO needs of a convex f that is given as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
DOUBLINGS, HALVINGS = 100, 60  # of a distance between log-ratios


def generator_functions(f: Callable[[Array], Array]) -> dict[str, Callable]:
    """The functions of a `Family`.

    Raises:
      ValueError: as of `divergence_from_generator`.
    """
    given = _Generator(f, *_checked_range(f))
    names = "derivative", "log_slope", "log_difference", "lowered", "penalty"
    return {name: getattr(given, name) for name in names}


@dataclass(frozen=True)
class _Generator:
    """A convex f, as functions of the log-ratio ℓ = log u.

    Attributes:
      f: of u > 0.
      first, last: the log-ratios between which f' is asked.
    """

    f: Callable[[Array], Array]
    first: float
    last: float

    def derivative(self, ratio: Array) -> Array:
        """f'(u), and beyond its range a straight line in ℓ."""
        inside = jnp.clip(ratio, self.first, self.last)
        return self._within(inside) + self._slope(inside) * (ratio - inside)

    def log_slope(self, ratio: Array) -> Array:
        return jnp.log(self._slope(ratio))

    def log_difference(self, high: Array, low: Array) -> Array:
        """Of ratios less than a nat apart, from the integral of the slope."""
        apart = high - low
        middle, half = low + apart / 2, jnp.minimum(apart, 1) / 2
        integral = half * sum(
            weight * self._slope(middle + half * node)
            for node, weight in zip(NODES, WEIGHTS, strict=True)
        )
        difference = self.derivative(high) - self.derivative(low)
        return jnp.log(jnp.where(apart <= 1, integral, jnp.maximum(difference, 0)))

    def lowered(self, ratio: Array, drop: Array) -> Array:
        """By halving, once a distance is found that is far enough."""

        def enough(width: Array) -> Array:
            return self.log_difference(ratio, ratio - width) >= jnp.log(drop)

        def doubled(_: int, width: Array) -> Array:
            return jnp.where(enough(width), width, 2 * width)

        def halved(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            less, more = bracket
            width = (less + more) / 2
            fits = enough(width)
            return jnp.where(fits, less, width), jnp.where(fits, width, more)

        widest = jax.lax.fori_loop(0, DOUBLINGS, doubled, jnp.ones_like(ratio - drop))
        bracket = jnp.zeros_like(widest), widest
        return ratio - jax.lax.fori_loop(0, HALVINGS, halved, bracket)[1]

    def penalty(self, ratio: Array) -> Array:
        inside = jnp.clip(ratio, -REACH, REACH)
        u, one = jnp.exp(inside), jnp.ones(())
        tangent = self.f(one) + jax.grad(self.f)(one) * (u - 1)
        above = jnp.maximum(jnp.vectorize(self.f)(u) - tangent, 0) / u
        return above * bounded_exp(jnp.maximum(inside - ratio, 0))

    def _within(self, ratio: Array) -> Array:
        return jnp.vectorize(jax.grad(self.f))(jnp.exp(ratio))

    def _slope(self, ratio: Array) -> Array:
        """d f'(u) / dℓ > 0."""
        ratio = jnp.clip(ratio, self.first, self.last)
        exact = jax.jvp(self._within, (ratio,), (jnp.ones_like(ratio),))[1]
        # Where u^-2 overflows on the way to it, by differences of fourth order.
        near = [self._within(ratio + k * STENCIL) for k in (-2, -1, 1, 2)]
        rise = near[0] - 8 * near[1] + 8 * near[2] - near[3]
        value = jnp.where(jnp.isfinite(exact), exact, rise / (12 * STENCIL))
        return jnp.maximum(value, jnp.finfo(value.dtype).tiny)


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
