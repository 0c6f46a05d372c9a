"""Adam's moments in eight bits each, with a scale for every few of them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from sophia_jax.types import Array, Float, Int, Integer, typed

__all__ = [
    "BLOCK",
    "Moments",
    "SmallAdamState",
    "decode",
    "encode",
    "scale_by_small_adam",
]

BLOCK = 64  # entries of the last axis that share a scale

# Ratio of neighbouring levels, as a logarithm. With a sign there are 127 levels, down
# to 3e-6 of the block's largest entry; without one 255, down to 9e-12, which is the
# square of as much: beside an outlier, the mean and its square end at the same entries.
STEP = 0.1

TINY = float(jnp.finfo(jnp.float32).tiny)

# Odd, with bits like those of the golden ratio and of √3: multiples fill [0, 2**32).
_BY_COUNT, _BY_PLACE = 0x9E3779B1, 0xBB67AE85


class Moments(NamedTuple):
    """One moment of all parameters, each part in the parameters' structure.

    Attributes:
      levels: of each parameter's shape; int8 with a sign, or uint8.
      scales: float32, the largest entry of each block along the last axis.
    """

    levels: optax.Params
    scales: optax.Params


class SmallAdamState(NamedTuple):
    """As optax's state of Adam.

    Attributes:
      count: Int32[], updates made so far.
      mu: the mean of the gradients.
      nu: the mean of their squares.
    """

    count: Array
    mu: Moments
    nu: Moments


@typed
def encode(
    values: Float[Array, "*axes last"], count: Int[Array, ""], *, signed: bool
) -> tuple[Integer[Array, "*axes last"], Float[Array, "*axes block"]]:
    """Values in eight bits, in logarithmic levels below the block's largest.

        |x| ≈ s exp(δ (q - Q)),  q in 1 ... Q,  s = max |x| of the block;  0 if q = 0

    Between two levels the upper one is taken in that share of the updates that keeps
    the mean: errors do not add up, and a moment of β = 0.999, which changes by less
    than a level, still goes where it should. A positive value is never rounded to
    zero where there is no sign, so that no update is divided by nothing.

    Args:
      values: >= 0 if there is no sign.
      count: of the update; chooses which entries are rounded up.
      signed: 127 levels and a sign, else 255 levels.

    Returns:
      Levels (int8 or uint8) and the scales of blocks of `BLOCK` entries.

    Reference:
      After Dettmers et al., 2022, "8-bit optimizers via block-wise quantization",
      https://arxiv.org/abs/2110.02861, section 2; logarithmic levels and the rounding
      are ours.
    """
    most = 127 if signed else 255
    scales = _largest(jnp.abs(values))
    ratio = jnp.abs(values) / jnp.maximum(_spread(scales, values.shape), TINY)
    exact = most + jnp.log(jnp.maximum(ratio, TINY)) / STEP
    below = jnp.floor(exact)
    # The share of the way from the level below to the one above, which is linear in x.
    share = jnp.expm1(STEP * (exact - below)) / jnp.expm1(STEP)
    lowest = ratio * jnp.exp(STEP * (most - 1.0))  # in units of the lowest level
    share = jnp.where(below < 1, lowest, share)
    below = jnp.maximum(below, 0)
    level = below + (share > _thresholds(count, values.shape))
    level = jnp.where(ratio > 0, jnp.clip(level, 0 if signed else 1, most), 0)
    if signed:
        return (jnp.sign(values) * level).astype(jnp.int8), scales
    return level.astype(jnp.uint8), scales


@typed
def decode(
    levels: Integer[Array, "*axes last"], scales: Float[Array, "*axes block"]
) -> Float[Array, "*axes last"]:
    """What `encode` stands for, in float32."""
    signed = levels.dtype == jnp.int8
    most = 127 if signed else 255
    level = levels.astype(jnp.float32)
    size = jnp.exp(STEP * (jnp.abs(level) - most)) * _spread(scales, levels.shape)
    return jnp.sign(level) * size


def scale_by_small_adam(
    *, beta1: float, beta2: float, epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """`optax.scale_by_adam` whose state takes 2 1/8 bytes a parameter instead of 8.

    An update is computed from the moments before they are rounded.

    Args:
      beta1: of the mean.
      beta2: of the mean of squares.
      epsilon: added to the root of the latter.

    Reference:
      Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980, algorithm 1.
    """

    def init(params: optax.Params) -> SmallAdamState:
        mu, nu = _zeros(params, jnp.int8), _zeros(params, jnp.uint8)
        return SmallAdamState(jnp.zeros((), jnp.int32), mu, nu)

    def update(
        gradient: optax.Updates, state: SmallAdamState, params: optax.Params = None
    ) -> tuple[optax.Updates, SmallAdamState]:
        del params
        count = optax.safe_increment(state.count)
        gradient = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), gradient)
        mu, nu = (jax.tree.map(decode, *moment) for moment in (state.mu, state.nu))
        mu = optax.tree.update_moment(gradient, mu, beta1, 1)
        nu = optax.tree.update_moment(gradient, nu, beta2, 2)
        first = optax.tree.bias_correction(mu, beta1, count)
        second = optax.tree.bias_correction(nu, beta2, count)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), first, second)
        return updates, SmallAdamState(
            count,
            _encode_all(mu, count, signed=True),
            _encode_all(nu, count, signed=False),
        )

    return optax.GradientTransformation(init, update)


def _zeros(params: optax.Params, dtype: jax.typing.DTypeLike) -> Moments:
    def scales(leaf: Array) -> Array:
        return jnp.zeros((*leaf.shape[:-1], -(-leaf.shape[-1] // BLOCK)))

    levels = jax.tree.map(lambda leaf: jnp.zeros_like(leaf, dtype), params)
    return Moments(levels, jax.tree.map(scales, params))


def _encode_all(tree: optax.Params, count: Array, *, signed: bool) -> Moments:
    leaves, structure = jax.tree.flatten(tree)
    encoded = [encode(leaf, count, signed=signed) for leaf in leaves]
    levels, scales = zip(*encoded, strict=True)
    return Moments(structure.unflatten(levels), structure.unflatten(scales))


def _largest(sizes: Array) -> Array:
    """Of each block along the last axis, of which the last one may be short."""
    padding = [(0, 0)] * (sizes.ndim - 1) + [(0, -sizes.shape[-1] % BLOCK)]
    blocks = jnp.pad(sizes, padding).reshape(*sizes.shape[:-1], -1, BLOCK)
    return jnp.max(blocks, axis=-1)


def _spread(scales: Array, shape: tuple[int, ...]) -> Array:
    """Each block's scale at all of its entries."""
    return jnp.repeat(scales, BLOCK, axis=-1)[..., : shape[-1]]


def _thresholds(count: Array, shape: tuple[int, ...]) -> Array:
    """In [0, 1): at each entry evenly spread over the updates, in another order."""
    place = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        place = (place + along) * jnp.uint32(_BY_PLACE)
    turned = place + count.astype(jnp.uint32) * jnp.uint32(_BY_COUNT)
    return (turned >> 8).astype(jnp.float32) / 2**24
