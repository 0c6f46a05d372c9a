"""The engine's programs: fill prompts' pages, decode a few tokens, close pages."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import SamplingConfig
from sophia_jax.generation.logits import draw_tokens
from sophia_jax.models.paged import Chains, Pages, Rows
from sophia_jax.types import Array

__all__ = [
    "Drawn",
    "PromptBatch",
    "Slots",
    "close_pages",
    "decode_chunk",
    "fill_prompts",
    "gather_pages",
    "keep_slots",
]


@chex.dataclass(frozen=True)
class PromptBatch:
    """Prompts of one length bucket, or what is left of them behind shared pages.

    Attributes:
      token_ids: Int32[group token], padded at the end.
      length: Int32[group], tokens of each; 0 for a group that fills the batch.
      image_embeds: Float[group token embed] where an image token stands; None for text.
      is_image: Bool[group token]; None for text.
      context: Int32[group part], the whole pages before these tokens.
      num_parts: Int32[group], how many these are.
      filled: Int32[group filled_page], the pages to be filled; out of range for none.
    """

    token_ids: Array
    length: Array
    image_embeds: Array | None
    is_image: Array | None
    context: Array
    num_parts: Array
    filled: Array


@chex.dataclass(frozen=True)
class Slots:
    """The sequences that are decoded together.

    Attributes:
      latest: Int32[slot], the last token of each, not yet read.
      position: Int32[slot], of that token.
      index: Int32[slot], tokens drawn so far.
      limit: Int32[slot], tokens to be drawn at most.
      running: Bool[slot].
      seeds: UInt32[slot 2], the halves of the group's 64-bit seed.
      sample: Int32[slot], index within the group.
      start: Int32[slot], the first place of the open page that counts.
    """

    latest: Array
    position: Array
    index: Array
    limit: Array
    running: Array
    seeds: Array
    sample: Array
    start: Array


@chex.dataclass(frozen=True)
class Drawn:
    """What a chunk of steps drew; only a running slot's tokens mean anything.

    Attributes:
      token_ids: Int32[step slot]
      behavior_log_probs: Float32[step slot], under what was sampled.
      policy_log_probs: Float32[step slot], under the full distribution.
      num_steps: Int32[], steps made before all slots had stopped.
    """

    token_ids: Array
    behavior_log_probs: Array
    policy_log_probs: Array
    num_steps: Array


@functools.partial(jax.jit, static_argnums=0, donate_argnums=3)
def fill_prompts(
    graphdef: nnx.GraphDef, params: dict, batch: PromptBatch, pages: Pages
) -> Pages:
    """Read prompts, and leave their keys and values in pages.

    Args:
      graphdef, params: the model.
      batch: the prompts.
      pages: donated.

    Returns:
      The pages, the batch's filled.
    """
    decoder = nnx.merge(graphdef, params).decoder
    embeds = decoder.embed(batch.token_ids)
    if batch.image_embeds is not None:
        image_embeds = batch.image_embeds.astype(embeds.dtype)
        embeds = jnp.where(batch.is_image[..., None], image_embeds, embeds)
    return decoder.prefill(
        embeds, batch.length, batch.context, batch.num_parts, pages, batch.filled
    )


@functools.partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("num_steps", "sampling", "end_ids", "banned_ids"),
    donate_argnames=("open_pages",),
)
def decode_chunk(
    graphdef: nnx.GraphDef,
    params: dict,
    pages: Pages,
    slots: Slots,
    chains: Sequence[Chains],
    place: Array,
    *,
    layers: Sequence[nnx.State] | None,
    open_pages: Rows,
    num_steps: int,
    sampling: SamplingConfig,
    end_ids: tuple[int, ...],
    banned_ids: tuple[int, ...],
) -> tuple[Rows, Drawn]:
    """Draw up to `num_steps` tokens in every slot; ends early when all have stopped.

    Token l of a sample draws its noise from (its group's seed, its index, l), so that
    nothing else in the batch can change it.

    Args:
      graphdef, params: the model.
      pages: that are filled.
      slots: the sequences.
      chains: which slot reads which pages.
      place: of the open pages, where the first token read goes.
      layers: of `Decoder.unstacked_layers`; None to scan the stacked ones.
      open_pages: one for each slot, with room for the tokens; donated.
      num_steps: tokens for each slot at most.
      sampling: temperature, top-k, top-p.
      end_ids: tokens that end an answer.
      banned_ids: tokens that are never drawn.

    Returns:
      The open pages, and what was drawn.
    """
    decoder = nnx.merge(graphdef, params).decoder
    keys = jax.vmap(jax.random.fold_in)(
        jax.random.wrap_key_data(slots.seeds, impl="threefry2x32"), slots.sample
    )
    turns = decoder.turns(slots.position[None] + jnp.arange(num_steps)[:, None])

    def goes_on(carry: tuple) -> Array:
        step, running = carry[:2]
        return (step < num_steps) & jnp.any(running)

    def one_token(carry: tuple) -> tuple:
        step, running, latest, open_pages, drawn = carry
        hidden, open_pages = decoder.decode(
            decoder.embed(latest),
            turns[:, step],
            pages,
            chains,
            open_pages,
            slots.start,
            place + step,
            layers=layers,
        )
        logits = jnp.matmul(hidden, decoder.head, preferred_element_type=jnp.float32)
        logits = logits[:, : decoder.config.vocab_size]
        step_keys = jax.vmap(jax.random.fold_in)(keys, slots.index + step)
        drawn_now = draw_tokens(step_keys, logits, sampling, banned_ids)
        drawn = jax.tree.map(lambda all, now: all.at[step].set(now), drawn, drawn_now)
        latest = drawn_now[0]
        is_last = slots.index + step + 1 >= slots.limit
        for end_id in end_ids:
            is_last |= latest == end_id
        return step + 1, running & ~is_last, latest, open_pages, drawn

    shape = (num_steps, len(slots.latest))
    nothing = tuple(
        jnp.zeros(shape, dtype) for dtype in (jnp.int32, jnp.float32, jnp.float32)
    )
    start = (jnp.int32(0), slots.running, slots.latest, open_pages, nothing)
    step, _, _, open_pages, drawn = jax.lax.while_loop(goes_on, one_token, start)
    token_ids, behavior_log_probs, policy_log_probs = drawn
    return open_pages, Drawn(
        token_ids=token_ids,
        behavior_log_probs=behavior_log_probs,
        policy_log_probs=policy_log_probs,
        num_steps=step,
    )


@functools.partial(jax.jit, donate_argnums=0)
def close_pages(pages: Pages, open_pages: Rows, filled: Array) -> Pages:
    """Put every slot's open page, now full, among the pages.

    Args:
      pages: donated.
      open_pages: one for each slot; they may be written to anew.
      filled: Int32[slot], where each goes; out of range for a slot that is not running.
    """
    return pages.filled(filled, open_pages)


@jax.jit
def keep_slots(open_pages: Rows, slots: Array) -> Rows:
    """The open pages of some slots, in their order: fewer slots, a smaller program."""
    return open_pages.kept(slots)


@functools.partial(jax.jit, static_argnames="stacked")
def gather_pages(pages: Pages, numbers: Array, *, stacked: bool) -> Rows:
    """The first pages of some chains, Int[row part], side by side."""
    return pages.gathered(numbers, stacked=stacked)
