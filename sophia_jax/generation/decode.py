"""Sampling for groups of prompts: one prefill each, then tokens for all samples."""

from __future__ import annotations

import functools

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
    """What was drawn, up to and including the end token; zeros beyond.

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


@functools.partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("num_samples", "sampling", "end_id", "banned_ids"),
)
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

    Args:
      graphdef, params: the model.
      batch: the prompts.
      num_samples: answers to each prompt.
      sampling: temperature, top-k, top-p, and the most tokens of an answer.
      end_id: the token that ends an answer.
      banned_ids: tokens that are never drawn.

    Returns:
      The answers; for a group that fills the batch, of no tokens.
    """
    model = nnx.merge(graphdef, params)
    decoder = model.decoder
    keys = _sample_keys(batch.seeds, num_samples)
    prefix, prefix_mask, hidden = _prefill(model, batch)

    def draw(step: Array | int, drawn: Samples, hidden: Array) -> Samples:
        logits = jnp.matmul(hidden, decoder.head, preferred_element_type=jnp.float32)
        drawn_now = draw_tokens(_fold_in(keys, step), logits, sampling, banned_ids)
        return _record(drawn, step, *drawn_now, end_id)

    def running(carry: tuple) -> Array:
        step, drawn, _ = carry
        return (step < sampling.max_new_tokens) & ~jnp.all(drawn.stopped)

    def decode_and_draw(carry: tuple) -> tuple:
        step, drawn, suffix = carry
        latest = drawn.token_ids[:, :, step - 1]
        positions = jnp.broadcast_to((batch.length + step - 1)[:, None], latest.shape)
        hidden, suffix = decoder.decode(
            decoder.embedding(latest), positions, prefix, prefix_mask, suffix, step - 1
        )
        return step + 1, draw(step, drawn, hidden), suffix

    # The first token comes from the prompt, and the last is never read.
    group = len(batch.length)
    hidden = jnp.broadcast_to(hidden[:, None], (group, num_samples, hidden.shape[-1]))
    drawn = draw(0, _nothing(batch.length, num_samples, sampling), hidden)
    suffix = decoder.empty_cache(
        group * num_samples, sampling.max_new_tokens, hidden.dtype
    )
    start = (jnp.ones((), jnp.int32), drawn, suffix)
    return jax.lax.while_loop(running, decode_and_draw, start)[1]


def _prefill(model: nnx.Module, batch: PromptBatch) -> tuple:
    """Keys and values of the prompts, their mask, and their last hidden states."""
    group, context = batch.token_ids.shape
    positions = jnp.broadcast_to(jnp.arange(context)[None], (group, context))
    is_prompt = positions < batch.length[:, None]
    embeds = model.embed(batch.token_ids, batch.features, batch.image_index)
    hidden, prefix = model.decoder.prefill(
        embeds, positions, is_prompt.astype(jnp.int32)
    )
    last = hidden[jnp.arange(group), jnp.maximum(batch.length - 1, 0)]
    return prefix, is_prompt, last


def _nothing(length: Array, num_samples: int, sampling: SamplingConfig) -> Samples:
    """Before the first draw; groups that fill the batch have stopped already."""
    shape = (len(length), num_samples)
    by_token = (*shape, sampling.max_new_tokens)
    return Samples(
        token_ids=jnp.zeros(by_token, jnp.int32),
        behavior_log_probs=jnp.zeros(by_token, jnp.float32),
        policy_log_probs=jnp.zeros(by_token, jnp.float32),
        length=jnp.zeros(shape, jnp.int32),
        stopped=jnp.broadcast_to(length[:, None] == 0, shape),
    )


def _record(
    drawn: Samples,
    step: Array | int,
    tokens: Array,
    behavior_log_probs: Array,
    policy_log_probs: Array,
    end_id: int,
) -> Samples:
    """Note the step's tokens for the samples that are still running."""
    running = ~drawn.stopped

    def put(buffer: Array, values: Array) -> Array:
        return buffer.at[:, :, step].set(jnp.where(running, values, 0))

    return Samples(
        token_ids=put(drawn.token_ids, tokens),
        behavior_log_probs=put(drawn.behavior_log_probs, behavior_log_probs),
        policy_log_probs=put(drawn.policy_log_probs, policy_log_probs),
        length=drawn.length + running,
        stopped=drawn.stopped | (tokens == end_id),
    )


def _sample_keys(seeds: Array, num_samples: int) -> Array:
    """keys[group sample] from the groups' seeds."""
    keys = jax.random.wrap_key_data(seeds, impl="threefry2x32")
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    return fold(keys, jnp.arange(num_samples))


def _fold_in(keys: Array, step: Array | int) -> Array:
    return jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (0, None))(keys, step)
