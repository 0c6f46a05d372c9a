"""The decoder: full forward, prefill, and decoding from a shared prefix."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import Remat, TextConfig
from sophia_jax.models.attention_backends import causal_attention
from sophia_jax.models.layers import (
    RMSNorm,
    gated_silu,
    merge_attention,
    partial_attention,
    stack_layers,
)
from sophia_jax.models.low_rank import LayerAdapters, adapted
from sophia_jax.models.paged import Chains, Pages, Rows, chain_attention
from sophia_jax.models.remat import kept, rematerialised
from sophia_jax.models.rotary import rotary, rotate
from sophia_jax.sharding import Partition
from sophia_jax.sharding.rules import constrain
from sophia_jax.types import Array, Float, Int

__all__ = ["Decoder"]

# Few layers compile quickly when they stand one by one, and then slice no cache.
MOST_UNROLLED = 8

# (query, key, value, layer index, cache) -> (attention, cache)
Attend = Callable[[Array, Array, Array, Array, Any], tuple[Array, Any]]


class DecoderLayer(nnx.Module):
    def __init__(
        self, config: TextConfig, rngs: nnx.Rngs, partition: Partition | None = None
    ):
        self.config = config
        self.partition = partition
        embed, head_dim = config.hidden_size, config.head_dim

        def linear(inputs: int, outputs: int, bias: bool = False) -> nnx.Linear:
            return nnx.Linear(inputs, outputs, use_bias=bias, rngs=rngs)

        # What is added to the residual stream starts small, so that 2 L additions
        # keep its size.
        into_residual = nnx.initializers.variance_scaling(
            0.5 / config.num_layers, "fan_in", "truncated_normal"
        )

        def linear_out(inputs: int) -> nnx.Linear:
            return nnx.Linear(
                inputs, embed, use_bias=False, kernel_init=into_residual, rngs=rngs
            )

        self.attention_norm = RMSNorm(embed, config.norm_eps)
        self.query = linear(embed, config.num_heads * head_dim, config.qkv_bias)
        self.key = linear(embed, config.num_kv_heads * head_dim, config.qkv_bias)
        self.value = linear(embed, config.num_kv_heads * head_dim, config.qkv_bias)
        if config.qk_norm:
            self.query_norm = RMSNorm(head_dim, config.norm_eps)
            self.key_norm = RMSNorm(head_dim, config.norm_eps)
        self.out = linear_out(config.num_heads * head_dim)
        self.mlp_norm = RMSNorm(embed, config.norm_eps)
        self.gate = linear(embed, config.mlp_size)
        self.up = linear(embed, config.mlp_size)
        self.down = linear_out(config.mlp_size)

    def __call__(
        self,
        x: Array,
        turns: Array,
        attend: Attend,
        layer: Array,
        cache: Any,
        adapters: LayerAdapters | None = None,
    ) -> tuple[Array, Any]:
        project = functools.partial(adapted, adapters)
        normed = self.attention_norm(x)
        query, key, value = (
            self._heads(project(name, linear, normed), axis)
            for name, linear, axis in (
                ("query", self.query, "heads"),
                ("key", self.key, "kv_heads"),
                ("value", self.value, "kv_heads"),
            )
        )
        if self.config.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        query, key = rotate(query, turns), rotate(key, turns)
        out, cache = attend(query, key, value, layer, cache)
        out = kept(project("out", self.out, out.reshape(*x.shape[:2], -1)))
        x = self._lay_out(x + out, None)
        normed = self.mlp_norm(x)
        gate, up = project("gate", self.gate, normed), project("up", self.up, normed)
        hidden = self._lay_out(gated_silu(gate, up), "mlp")
        return self._lay_out(x + project("down", self.down, hidden), None), cache

    def _heads(self, x: Array, axis: str) -> Array:
        """[batch token (heads head_dim)] -> [batch token heads head_dim]."""
        x = x.reshape(*x.shape[:2], -1, self.config.head_dim)
        return kept(constrain(self.partition, x, "batch", "token", axis, None))

    def _lay_out(self, x: Array, last: str | None) -> Array:
        return constrain(self.partition, x, "batch", "token", last)


class Decoder(nnx.Module):
    """Embedding, stacked layers, final norm and (unless tied) an output head.

    Adapters are another module's, so that they are a part of the parameters by
    themselves; the layers only look at them.
    """

    def __init__(
        self,
        config: TextConfig,
        *,
        rngs: nnx.Rngs,
        partition: Partition | None = None,
        adapters: LayerAdapters | None = None,
    ):
        self.config = config
        self.partition = partition
        self.adapters = adapters
        # A tied embedding is also the head, whose logits must start small.
        std = config.hidden_size**-0.5 if config.tied_head else 1.0
        self.embedding = nnx.Embed(
            config.embedding_rows,
            config.hidden_size,
            embedding_init=nnx.initializers.normal(std),
            rngs=rngs,
        )
        # Or it would be that of the weights when they were made, and a bfloat16 model
        # would compute in float32.
        self.embedding.dtype = None
        self.layers = stack_layers(
            lambda rngs: DecoderLayer(config, rngs, partition),
            config.num_layers,
            rngs,
        )
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        if not config.tied_head:
            self.lm_head = nnx.Linear(
                config.hidden_size, config.embedding_rows, use_bias=False, rngs=rngs
            )

    @property
    def head(self) -> Float[Array, "embed row"]:
        """The matrix that turns hidden states into logits.

        Only the first `vocab_size` of them are tokens; what follows is padding.
        """
        if self.config.tied_head:
            return self.embedding.embedding[...].T
        return self.lm_head.kernel[...]

    def embed(self, token_ids: Int[Array, "*token"]) -> Float[Array, "*token embed"]:
        """What the first layer reads of tokens of text."""
        table = self.embedding.embedding[...]
        # Gathered along its width first: the tokens' rows would be, otherwise.
        return constrain(self.partition, table, "vocab", None)[token_ids]

    def __call__(
        self,
        embeds: Float[Array, "batch token embed"],
        positions: Int[Array, "batch token"],
        segment_ids: Int[Array, "batch token"],
        *,
        lengths: Int[Array, "batch token"] | None = None,
        remat: Remat = "none",
    ) -> Float[Array, "batch token embed"]:
        """Normed hidden states of whole (packed) sequences.

        Args:
          embeds: of the tokens.
          positions: of each token in its own sequence, from 0.
          segment_ids: of the sequence that a token belongs to, from 1; 0 for padding.
          lengths: of the sequence, as each token's rotation takes it under dynamic
            scaling: None for its whole length, as the forward pass of transformers
            does; positions + 1 for what decoding one by one computes.
          remat: which activations are formed again in the backward pass.

        Returns:
          One vector per token.
        """

        def attend(query, key, value, layer, cache):
            out = causal_attention(
                query, key, value, segment_ids, partition=self.partition
            )
            return out, cache

        if lengths is None:
            lengths = segment_lengths(positions, segment_ids)
        turns = self.turns(positions, lengths)
        return self._run(embeds, turns, attend, None, remat=remat)[0]

    def prefill(
        self,
        embeds: Float[Array, "group token embed"],
        length: Int[Array, " group"],
        context: Int[Array, "group part"],
        num_parts: Int[Array, " group"],
        pages: Pages,
        filled: Int[Array, "group filled_page"],
    ) -> Pages:
        """Fill pages with the keys and values of prompts, or of their later parts.

        Args:
          embeds: of the tokens to be read, padded at the end.
          length: how many of them count.
          context: numbers of the whole pages that hold what stands before them.
          num_parts: how many of these there are.
          pages: to be read and filled.
          filled: numbers of the pages to be filled; out of range for none.

        Returns:
          The pages, filled.
        """
        group, token, _ = embeds.shape
        page = pages.value.shape[3]
        order = jnp.broadcast_to(jnp.arange(token)[None], (group, token))
        earlier = jnp.tril(jnp.ones((token, token), bool))[None]
        seen = earlier & (order < length[:, None])[:, None]

        def attend(query, key, value, layer, new_pages):
            def from_context(part: Array, merged: tuple) -> tuple:
                number = context[:, part]
                is_there = jnp.broadcast_to((part < num_parts)[:, None], (group, page))
                read = partial_attention(
                    query,
                    pages.key[layer, number],
                    pages.value[layer, number],
                    is_there[:, None],
                )
                return merge_attention([merged, read])

            keys, values = key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)
            own = partial_attention(query, keys, values, seen)
            out, _ = jax.lax.fori_loop(0, jnp.max(num_parts), from_context, own)
            new_pages = Pages(
                key=new_pages.key.at[layer].set(cut_pages(keys, page, axis=3)),
                value=new_pages.value.at[layer].set(cut_pages(values, page, axis=2)),
            )
            return out, new_pages

        positions = num_parts[:, None] * page + order
        new_pages = Pages.empty(self.config, filled.size, page, embeds.dtype)
        _, new_pages = self._run(embeds, self.turns(positions), attend, new_pages)
        # Filled when all is read: pages that were read and filled in turn would be
        # copied each time.
        return pages.filled(filled.ravel(), new_pages)

    def decode(
        self,
        embeds: Float[Array, "slot embed"],
        turns: Float[Array, "2 slot half"],
        pages: Pages,
        chains: Sequence[Chains],
        open_pages: Rows,
        start: Int[Array, " slot"],
        place: Int[Array, ""],
        *,
        layers: Sequence[nnx.State] | None = None,
    ) -> tuple[Float[Array, "slot embed"], Rows]:
        """One more token for every slot.

        A slot attends to the pages that it shares with others, to filled pages of its
        own, and to its open page, and merges what it finds there. All slots write at
        the same place of their open pages, so that nothing is scattered; what stands
        before a slot's `start` is not its own.

        Args:
          embeds: of each slot's latest token.
          turns: of that token's position.
          pages: that are filled.
          chains: which slot reads which.
          open_pages: a row of one page for each slot.
          start: the first place of the open page that counts.
          place: where the latest token goes.
          layers: of `unstacked_layers`; None to scan the stacked ones.

        Returns:
          Normed hidden states, and the open pages with the tokens' keys and values.
        """
        token = jnp.arange(pages.value.shape[3])[None]
        is_own = (token >= start[:, None]) & (token <= place)

        def attend(query, key, value, layer, open_pages):
            open_pages = open_pages.put(layer, place, key[:, 0], value[:, 0])
            parts = [open_pages.read(layer, query, is_own)]
            for each in chains:
                parts.append(chain_attention(query[:, 0], pages, layer, each))
            return merge_attention(parts)[0], open_pages

        hidden, open_pages = self._run(
            embeds[:, None], turns[:, :, None], attend, open_pages, layers=layers
        )
        return hidden[:, 0], open_pages

    def turns(
        self,
        positions: Int[Array, "*token"],
        lengths: Int[Array, "*token"] | None = None,
    ) -> Float[Array, "2 *token half"]:
        """What `decode` needs of positions; best formed once for several steps."""
        config = self.config
        return rotary(
            positions,
            config.head_dim,
            theta=config.rope_theta,
            scaling=config.rope_scaling,
            lengths=lengths,
        )

    def unstacked_layers(self) -> list[nnx.State]:
        """Weights of each layer by itself: a copy, for loops that run often.

        XLA on CPU copies a layer's weights out of the stack before each use, which
        takes longer than multiplying them with a few tokens.
        """
        weights = nnx.state((self.layers, self.adapters))
        return [
            jax.tree.map(lambda stacked, layer=layer: stacked[layer], weights)
            for layer in range(self.config.num_layers)
        ]

    def _run(
        self,
        x: Array,
        turns: Array,
        attend: Attend,
        cache: Any,
        *,
        remat: Remat = "none",
        layers: Sequence[nnx.State] | None = None,
    ) -> tuple[Array, Any]:
        """The layers in turn; the cache rides in the carry, so that there is one."""
        graphdef, weights = nnx.split((self.layers, self.adapters))

        def body(carry, xs):
            number, weights = xs
            layer, adapters = nnx.merge(graphdef, weights)
            return layer(carry[0], turns, attend, number, carry[1], adapters), None

        body = rematerialised(body, remat)
        carry = (x, cache)
        if layers is None:
            num_layers = self.config.num_layers
            carry, _ = jax.lax.scan(
                body,
                carry,
                (jnp.arange(num_layers), weights),
                unroll=num_layers <= MOST_UNROLLED,
            )
        else:
            for layer in enumerate(layers):
                carry, _ = body(carry, layer)
        x, cache = carry
        return self.norm(x), cache


def segment_lengths(
    positions: Int[Array, "batch token"], segment_ids: Int[Array, "batch token"]
) -> Int[Array, "batch token"]:
    """Tokens of the segment that each token belongs to."""
    most = functools.partial(jax.ops.segment_max, num_segments=segment_ids.shape[1] + 1)
    longest = jax.vmap(most)(positions, segment_ids)
    return jnp.take_along_axis(longest, segment_ids, axis=1) + 1


def cut_pages(array: Array, page: int, *, axis: int) -> Array:
    """Tokens of each group, along an axis, as pages: [group ...] -> [page ...]."""
    num_pages = -(-array.shape[axis] // page)
    padding = [(0, 0)] * array.ndim
    padding[axis] = (0, num_pages * page - array.shape[axis])
    parts = jnp.stack(jnp.split(jnp.pad(array, padding), num_pages, axis), axis=1)
    return parts.reshape(-1, *parts.shape[2:])
