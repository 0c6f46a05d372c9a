"""Sampling for groups of prompts: one prefill each, then tokens for all samples."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import SamplingConfig
from sophia_jax.generation.logits import draw_tokens
from sophia_jax.types import Array

__all__ = ["PromptBatch", "Samples", "sample_groups"]


@chex.dataclass(frozen=True)
class PromptBatch:
    """Groups whose prompts share one length bucket.

    Attributes:
      token_ids: Int32[group token], padded at the end.
      length: Int32[group], tokens of each prompt; 0 for a group that fills the batch.
      image_index: Int32[group token], as in a packed batch.
      features: Float[tile image_token embed], or None.
      seeds: UInt32[group 2], the halves of each group's 64-bit seed.
    """

    token_ids: Array
    length: Array
    image_index: Array
    features: Array | None
    seeds: Array


@chex.dataclass(frozen=True)
class Samples:
    """What was drawn, up to and including the end token.

    Attributes:
      token_ids: Int32[group sample token]
      behavior_log_probs: Float32[group sample token], under what was sampled.
      policy_log_probs: Float32[group sample token], under the full distribution.
      length: Int32[group sample], tokens drawn.
      stopped: Bool[group sample], True when the end token was drawn.
    """

    token_ids: Array
    behavior_log_probs: Array
    policy_log_probs: Array
    length: Array
    stopped: Array


def sample_groups(
    graphdef: nnx.GraphDef,
    params: dict,
    batch: PromptBatch,
    *,
    num_samples: int,
    sampling: SamplingConfig,
    end_id: int,
    banned_ids: tuple[int, ...],
) -> Samples:
    """Draw `num_samples` answers to every prompt; ends early when all have ended.

    Token l of sample n draws its noise from (the group's seed, n, l), so that nothing
    else in the batch can change it.
    """
    model = nnx.merge(graphdef, params)
    decoder = model.decoder
    group, context = batch.token_ids.shape
    real = jnp.arange(context)[None] < batch.length[:, None]
    embeds = model.embed(batch.token_ids, batch.features, batch.image_index)
    positions = jnp.broadcast_to(jnp.arange(context)[None], (group, context))
    hidden, prefix = decoder.prefill(embeds, positions, real.astype(jnp.int32))
    last = hidden[jnp.arange(group), jnp.maximum(batch.length - 1, 0)]

    shape = (group, num_samples)
    keys = _sample_keys(batch.seeds, num_samples)
    limit = sampling.max_new_tokens
    drawn = Samples(
        token_ids=jnp.zeros((*shape, limit), jnp.int32),
        behavior_log_probs=jnp.zeros((*shape, limit), jnp.float32),
        policy_log_probs=jnp.zeros((*shape, limit), jnp.float32),
        length=jnp.zeros(shape, jnp.int32),
        stopped=jnp.broadcast_to(batch.length[:, None] == 0, shape),
    )
    suffix = decoder.empty_cache(group * num_samples, limit, embeds.dtype)
    hidden = jnp.broadcast_to(last[:, None], (*shape, last.shape[-1]))

    def running(carry: tuple) -> Array:
        step, drawn, _, _ = carry
        return (step < limit) & ~jnp.all(drawn.stopped)

    def draw_one(carry: tuple) -> tuple:
        step, drawn, hidden, suffix = carry
        tokens, *log_probs = draw_tokens(
            _fold_in(keys, step), hidden @ decoder.head, sampling, banned_ids
        )
        drawn = _record(drawn, step, tokens, log_probs, end_id)
        hidden, suffix = decoder.decode(
            decoder.embedding(tokens),
            batch.length[:, None] + step + jnp.zeros(shape, jnp.int32),
            prefix,
            real,
            suffix,
            step,
        )
        return step + 1, drawn, hidden, suffix

    start = (jnp.zeros((), jnp.int32), drawn, hidden, suffix)
    return jax.lax.while_loop(running, draw_one, start)[1]


def _record(
    drawn: Samples, step: Array, tokens: Array, log_probs: list[Array], end_id: int
) -> Samples:
    """Note the step's tokens for the samples that are still running."""
    running = ~drawn.stopped

    def put(buffer: Array, values: Array) -> Array:
        return buffer.at[:, :, step].set(jnp.where(running, values, 0))

    return Samples(
        token_ids=put(drawn.token_ids, tokens),
        behavior_log_probs=put(drawn.behavior_log_probs, log_probs[0]),
        policy_log_probs=put(drawn.policy_log_probs, log_probs[1]),
        length=drawn.length + running,
        stopped=drawn.stopped | (tokens == end_id),
    )


def _sample_keys(seeds: Array, num_samples: int) -> Array:
    """keys[group sample] from the groups' seeds."""
    keys = jax.random.wrap_key_data(seeds, impl="threefry2x32")
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    return fold(keys, jnp.arange(num_samples))


def _fold_in(keys: Array, step: Array) -> Array:
    return jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))(keys, step)
