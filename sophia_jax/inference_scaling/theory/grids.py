"""Numbers on a grid: what may be given, how it is checked, and in which precision."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.types import Array, Float, Integer, Scalar

__all__ = [
    "Grid",
    "check_above",
    "check_at_least",
    "in_float64",
    "is_concrete",
    "nan_unless",
    "on_grid",
]

Grid = Scalar | np.number | Float[Array, "*#grid"] | Integer[Array, "*#grid"]
"""A number, or an array of numbers; several of them are broadcast together."""

CHUNK = 16  # points of a grid that are worked out side by side


def in_float64(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function of numbers on a grid, worked out in float64.

    JAX's own precision is float32 unless x64 is switched on, in which a sum of some
    hundred terms, or a difference of nearby gaps, has no six digits. Only what happens
    inside is in float64: what comes out has the precision that JAX would give, float32
    or better, and so have gradients.

    Args:
      function: of keyword arguments, arrays of one shape, to an array of that shape.
    """

    @functools.wraps(function)
    def evaluated(**numbers: Grid) -> Array:
        dtype = jnp.promote_types(
            jnp.result_type(float, *numbers.values()), jnp.float32
        )
        with jax.enable_x64(True):
            wide = [jnp.asarray(number, jnp.float64) for number in numbers.values()]
            shape = jnp.broadcast_shapes(*(number.shape for number in wide))
            arrays = [jnp.broadcast_to(number, shape) for number in wide]
            found = function(**dict(zip(numbers, arrays, strict=True)))
            return found.astype(dtype)

    return evaluated


def on_grid(point: Callable[..., Array]) -> Callable[..., Array]:
    """A costly function of numbers, at each point of a grid, some points at a time.

    Grids of similar size are one compiled program, as long as nothing is traced.

    Args:
      point: of float64 scalars, in the order in which they will be given by name.
    """

    @jax.jit
    def at_points(*flat: Array) -> Array:
        at_one = jax.checkpoint(lambda numbers: point(*numbers))
        return jax.lax.map(at_one, flat, batch_size=CHUNK)

    @in_float64
    @functools.wraps(point)
    def evaluated(**numbers: Array) -> Array:
        arrays = tuple(numbers.values())
        shape, size = arrays[0].shape, arrays[0].size
        if size == 0:
            return jnp.zeros(shape)
        room = -size % CHUNK if is_concrete(*arrays) else 0
        flat = [jnp.pad(a.reshape(-1), (0, room), mode="edge") for a in arrays]
        return at_points(*flat)[:size].reshape(shape)

    return evaluated


def nan_unless(condition: Array, values: Array) -> Array:
    """The values, and nan where a traced argument is out of its range."""
    return jnp.where(condition, values, jnp.nan)


def check_above(bound: float, **numbers: Grid) -> None:
    """Refuse concrete numbers that are not above a bound."""
    for name, number in numbers.items():
        _check(name, number, f"> {bound:g}", lambda values: values > bound)


def check_at_least(bound: float, **numbers: Grid) -> None:
    """Refuse concrete numbers below a bound."""
    for name, number in numbers.items():
        _check(name, number, f">= {bound:g}", lambda values: values >= bound)


def is_concrete(*numbers: Grid) -> bool:
    """Whether the values are known, which those of a traced function are not."""
    return not any(isinstance(number, jax.core.Tracer) for number in numbers)


def _check(
    name: str, number: Grid, rule: str, holds: Callable[[np.ndarray], np.ndarray]
) -> None:
    if not is_concrete(number):
        return
    values = np.asarray(number, np.float64)
    good = holds(values)
    if not np.all(good):
        raise ValueError(f"{name}: expected {rule}, got {values[~good].ravel()[0]:g}")
