"""From logits to the distribution that is sampled."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sophia_jax.config import SamplingConfig
from sophia_jax.types import Array, Float, Int, typed

__all__ = ["draw_tokens", "keep_top_k", "keep_top_p", "sampling_logits"]


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
        logits = logits.at[..., jnp.asarray(banned_ids)].set(-jnp.inf)
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
    halving an interval of probabilities, which is faster than sorting them.
    """
    probs = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    # Floats that are not negative are ordered like their bits.
    bits = jax.lax.bitcast_convert_type(probs, jnp.int32)

    def halve(_: int, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        below, bound = bounds
        middle = (below + bound) // 2
        likelier = jnp.sum(probs, axis=-1, keepdims=True, where=bits > middle)
        reached = likelier >= p
        return jnp.where(reached, middle, below), jnp.where(reached, bound, middle)

    bound = jnp.max(bits, axis=-1, keepdims=True)
    start = (jnp.full_like(bound, -1), bound)
    _, bound = jax.lax.fori_loop(0, 31, halve, start)  # at most 2^30 floats in [0, 1]
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
    sampled = sampling_logits(logits, sampling, banned_ids)

    def noise(key: Array) -> Array:
        return jax.random.gumbel(key, (logits.shape[-1],), jnp.float32)

    gumbel = jnp.vectorize(noise, signature="()->(v)")(keys)
    tokens = jnp.argmax(sampled + gumbel, axis=-1).astype(jnp.int32)

    def log_prob(logits: Array) -> Array:
        log_probs = jax.nn.log_softmax(logits, axis=-1)
        return jnp.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]

    return tokens, log_prob(sampled), log_prob(logits.astype(jnp.float32))
