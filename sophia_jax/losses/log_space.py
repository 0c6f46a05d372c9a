"""Exponentials that stay finite, and logarithms that keep small numbers' digits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from sophia_jax.types import Array

__all__ = ["bounded_exp", "held_exp", "in_float32", "log_expm1", "log_expm1_ratio"]

ROOM = 2.0**-10  # share of the largest number in which values still rise
EASE = 1024.0  # nats beyond which half of that room is used up


def in_float32(*arrays: Array | float) -> tuple[Array, ...]:
    """As floats of one dtype and shape, float32 or better."""
    dtype = jnp.promote_types(jnp.result_type(float, *arrays), jnp.float32)
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def _largest(dtype: jnp.dtype) -> float:
    """log of what `bounded_exp` and `held_exp` follow e^x up to, in nats."""
    return math.log(float(jnp.finfo(dtype).max)) - 2 * ROOM


@jax.custom_jvp
def bounded_exp(x: Array) -> Array:
    """e^x; where no float holds it, what still rises with x, ever more slowly.

    With L just below the logarithm of the largest float (88.72 for float32), and
    z = max(x - L, 0):

        e^min(x, L) (1 + 2^-10 z / (z + 1024))

    Its derivative is `held_exp`: exact as far as a float holds it, and not 0 beyond.
    """
    largest = _largest(x.dtype)
    beyond = jnp.maximum(x - largest, 0)
    share = jnp.where(jnp.isinf(beyond), 1, beyond / (jnp.minimum(beyond, 1e30) + EASE))
    return held_exp(x) * (1 + ROOM * share)


@bounded_exp.defjvp
def _bounded_exp_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return bounded_exp(x), held_exp(x) * dx


def held_exp(x: Array) -> Array:
    """e^x, held where no float holds it."""
    return jnp.exp(jnp.minimum(x, _largest(x.dtype)))


def log_expm1(x: Array) -> Array:
    """log(e^x - 1) for x >= 0, in nats; -inf at 0."""
    return x + jnp.log(-jnp.expm1(-x))


def log_expm1_ratio(x: Array) -> Array:
    """log((1 - e^-x) / x) for x >= 0, in nats; 0 at 0."""
    safe = jnp.where(x > 0, x, 1)
    return jnp.where(x > 0, jnp.log(-jnp.expm1(-safe) / safe), 0)
