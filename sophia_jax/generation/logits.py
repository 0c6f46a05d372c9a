"""From logits to the distribution that is sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.config import SamplingConfig
from sophia_jax.types import Array, Float, Int, typed

__all__ = ["choose", "draw_tokens", "keep_top_k", "keep_top_p", "sampling_logits"]


@typed
def sampling_logits(
    logits: Float[Array, "*batch vocab"],
    sampling: SamplingConfig,
    banned_ids: Sequence[int] = (),
) -> Float[Array, "*batch vocab"]:
    """Logits of the distribution that is sampled: bans, temperature, top-k, top-p.

    Args:
      logits: of the model, in nats.
      sampling: the settings, applied in the order above; at temperature 0 only the
        likeliest token is kept.
      banned_ids: tokens that must never be drawn.

    Returns:
      Float32 logits; -inf for what cannot be drawn.
    """
    logits = logits.astype(jnp.float32)
    if banned_ids:
        is_banned = np.isin(np.arange(logits.shape[-1]), banned_ids)
        logits = jnp.where(is_banned, -jnp.inf, logits)
    if sampling.temperature == 0:
        return keep_top_k(logits, 1)
    logits = logits / sampling.temperature
    if sampling.top_k:
        logits = keep_top_k(logits, sampling.top_k)
    return keep_top_p(logits, sampling.top_p) if sampling.top_p < 1 else logits


@typed
def keep_top_k(
    logits: Float[Array, "*batch vocab"], k: int
) -> Float[Array, "*batch vocab"]:
    """The k likeliest tokens; of equal ones, the first."""
    _, kept = jax.lax.top_k(logits, min(k, logits.shape[-1]))
    is_kept = jnp.put_along_axis(
        jnp.zeros(logits.shape, bool), kept, True, axis=-1, inplace=False
    )
    return jnp.where(is_kept, logits, -jnp.inf)


@typed
def keep_top_p(
    logits: Float[Array, "*batch vocab"], p: float
) -> Float[Array, "*batch vocab"]:
    """The smallest set of likeliest tokens whose probability reaches p.

    A token stays when those strictly likelier than it have less than p together, so
    the likeliest always stays, and equals stay or go together. The bound is found by
    halving an interval of probabilities until no probability is left inside it, which
    is faster than sorting them (`scripts/bench_sampling.py`).
    """
    vocab = logits.shape[-1]
    probs = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    # Floats that are not negative are ordered like their bits.
    bits = jax.lax.bitcast_convert_type(probs, jnp.int32)

    def is_undecided(bounds: tuple[Array, Array]) -> Array:
        below, bound = bounds
        return jnp.any((bits > below) & (bits < bound))

    def halve(bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        below, bound = bounds
        middle = below + (bound - below) // 2
        likelier = jnp.sum(probs, axis=-1, keepdims=True, where=bits > middle)
        reached = likelier >= p
        return jnp.where(reached, middle, below), jnp.where(reached, bound, middle)

    # Tokens of less than (1 - p) / vocab are too few to matter, all together; half of
    # that leaves room for rounding.
    least = jnp.float32(max(1 - p, 0) / (2 * vocab))
    below = jax.lax.bitcast_convert_type(least, jnp.int32) - 1
    bound = jnp.max(bits, axis=-1, keepdims=True)
    start = (jnp.minimum(jnp.full_like(bound, below), bound - 1), bound)
    _, bound = jax.lax.while_loop(is_undecided, halve, start)
    return jnp.where(bits >= bound, logits, -jnp.inf)


def draw_tokens(
    keys: Array,
    logits: Float[Array, "*batch vocab"],
    sampling: SamplingConfig,
    banned_ids: Sequence[int] = (),
) -> tuple[Int[Array, "*batch"], Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Draw one token per row, each with its own key.

    Args:
      keys: PRNG keys[*batch].
      logits: of the model, in nats.
      sampling, banned_ids: as in `sampling_logits`.

    Returns:
      The tokens; their log-probabilities under what was sampled; and under the model's
      full distribution; in nats, float32.
    """
    logits = logits.astype(jnp.float32)
    sampled = sampling_logits(logits, sampling, banned_ids)
    if sampling.temperature == 0:
        tokens = jnp.argmax(sampled, axis=-1).astype(jnp.int32)
    else:
        uniforms = jnp.vectorize(_two_uniforms, signature="()->(n)")(keys)
        tokens = choose(uniforms, sampled)

    def log_prob(logits: Array) -> Array:
        shifted = logits - jnp.max(logits, axis=-1, keepdims=True)
        chosen = jnp.take_along_axis(shifted, tokens[..., None], axis=-1)[..., 0]
        return chosen - jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))

    return tokens, log_prob(sampled), log_prob(logits)


@typed
def choose(
    uniforms: Float[Array, "*batch 2"], logits: Float[Array, "*batch vocab"]
) -> Int[Array, "*batch"]:
    """Tokens by inversion of the distribution function, in one pass over the logits.

        v = min{v : Σ_{w <= v} exp z_w > u Σ_w exp z_w}

    in two steps: a block of tokens by the sums of the blocks, then a token within the
    block. One pass forms the sums; all that follows is about √vocab long.

    Args:
      uniforms: one number in [0, 1 - 2^-23] for each step.
      logits: z, in nats; -inf is never chosen.

    Returns:
      Int32 tokens.
    """
    vocab = logits.shape[-1]
    block = 1 << max(1, math.isqrt(vocab).bit_length())
    padding = [(0, 0)] * (logits.ndim - 1) + [(0, -vocab % block)]
    blocks = jnp.pad(logits, padding, constant_values=-jnp.inf)
    blocks = blocks.reshape(*logits.shape[:-1], -1, block)
    largest = jnp.max(logits, axis=-1)
    sums = jnp.sum(jnp.exp(blocks - largest[..., None, None]), axis=-1)
    number = _invert(uniforms[..., 0], sums)
    inside = jnp.take_along_axis(blocks, number[..., None, None], axis=-2)[..., 0, :]
    weights = jnp.exp(inside - largest[..., None])
    return number * block + _invert(uniforms[..., 1], weights)


def _invert(uniform: Array, weights: Array) -> Array:
    """The first index at which the running sum exceeds its share of the whole."""
    running = jnp.cumsum(weights, axis=-1)
    exceeds = running > (uniform * running[..., -1])[..., None]
    return jnp.argmax(exceeds, axis=-1).astype(jnp.int32)


def _two_uniforms(key: Array) -> Array:
    return jax.random.uniform(key, (2,), jnp.float32)
