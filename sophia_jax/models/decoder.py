"""The Qwen2.5 decoder: full forward, prefill, and decoding from a shared prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import TextConfig
from sophia_jax.models.layers import (
    attention,
    merge_attention,
    partial_attention,
    rotary_angles,
    rotate,
    stack_layers,
)
from sophia_jax.models.packed_attention import packed_attention
from sophia_jax.types import Array, Bool, Float, Int

__all__ = ["Cache", "Decoder", "causal_mask"]

# Few layers compile quickly when they stand one by one, and then slice no cache.
MOST_UNROLLED = 8

# Tokens in a block of attention, and in the longest row that forms all its scores: a
# CPU's best by scripts/measure_attention.py (128 tokens: 1.2 to 1.8 times as fast).
BLOCK = 64
LONGEST_DENSE = 64

# (query, key, value, layer index, cache) -> (attention, cache)
Attend = Callable[[Array, Array, Array, Array, Any], tuple[Array, Any]]


@chex.dataclass(frozen=True)
class Cache:
    """Keys and values of all layers.

    Attributes:
      key: Float[layer batch kv_heads context head_dim]
      value: the same shape.
    """

    key: Array
    value: Array


def causal_mask(segment_ids: Int[Array, "batch token"]) -> Bool[Array, "batch t s"]:
    """Tokens see themselves and what stands before them in their own segment.

    Segment 0 is padding: it is seen by padding alone.
    """
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return jnp.tril(same)


class DecoderLayer(nnx.Module):
    def __init__(self, config: TextConfig, rngs: nnx.Rngs):
        self.config = config
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

        def norm() -> nnx.RMSNorm:
            return nnx.RMSNorm(embed, epsilon=config.norm_eps, rngs=rngs)

        self.attention_norm = norm()
        self.query = linear(embed, config.num_heads * head_dim, config.qkv_bias)
        self.key = linear(embed, config.num_kv_heads * head_dim, config.qkv_bias)
        self.value = linear(embed, config.num_kv_heads * head_dim, config.qkv_bias)
        self.out = linear_out(config.num_heads * head_dim)
        self.mlp_norm = norm()
        self.gate = linear(embed, config.mlp_size)
        self.up = linear(embed, config.mlp_size)
        self.down = linear_out(config.mlp_size)

    def __call__(
        self, x: Array, angles: Array, attend: Attend, layer: Array, cache: Any
    ) -> tuple[Array, Any]:
        heads = (*x.shape[:2], -1, self.config.head_dim)
        normed = self.attention_norm(x)
        query = rotate(self.query(normed).reshape(heads), angles)
        key = rotate(self.key(normed).reshape(heads), angles)
        value = self.value(normed).reshape(heads)
        out, cache = attend(query, key, value, layer, cache)
        x = x + self.out(out.reshape(*x.shape[:2], -1))
        normed = self.mlp_norm(x)
        return x + self.down(jax.nn.silu(self.gate(normed)) * self.up(normed)), cache


class Decoder(nnx.Module):
    """Embedding, stacked layers, final norm and (unless tied) an output head."""

    def __init__(self, config: TextConfig, *, rngs: nnx.Rngs):
        self.config = config
        # A tied embedding is also the head, whose logits must start small.
        std = config.hidden_size**-0.5 if config.tied_head else 1.0
        self.embedding = nnx.Embed(
            config.vocab_size,
            config.hidden_size,
            embedding_init=nnx.initializers.normal(std),
            rngs=rngs,
        )
        self.layers = stack_layers(
            lambda rngs: DecoderLayer(config, rngs), config.num_layers, rngs
        )
        self.norm = nnx.RMSNorm(config.hidden_size, epsilon=config.norm_eps, rngs=rngs)
        if not config.tied_head:
            self.lm_head = nnx.Linear(
                config.hidden_size, config.vocab_size, use_bias=False, rngs=rngs
            )

    @property
    def head(self) -> Float[Array, "embed vocab"]:
        """The matrix that turns hidden states into logits."""
        if self.config.tied_head:
            return self.embedding.embedding[...].T
        return self.lm_head.kernel[...]

    def __call__(
        self,
        embeds: Float[Array, "batch token embed"],
        positions: Int[Array, "batch token"],
        segment_ids: Int[Array, "batch token"],
        *,
        remat: bool = False,
    ) -> Float[Array, "batch token embed"]:
        """Normed hidden states of whole (packed) sequences."""

        def attend(query, key, value, layer, cache):
            if segment_ids.shape[1] <= LONGEST_DENSE:
                mask = causal_mask(segment_ids)
                return attention(query, key, value, mask), cache
            return packed_attention(query, key, value, segment_ids, block=BLOCK), cache

        return self._run(embeds, positions, attend, None, remat=remat)[0]

    def prefill(
        self,
        embeds: Float[Array, "batch token embed"],
        positions: Int[Array, "batch token"],
        segment_ids: Int[Array, "batch token"],
    ) -> tuple[Float[Array, "batch token embed"], Cache]:
        """Hidden states, and the keys and values to decode from."""
        mask = causal_mask(segment_ids)

        def attend(query, key, value, layer, cache):
            stored = write(cache, layer, key, value, start=0)
            return attention(query, key, value, mask), stored

        cache = self.empty_cache(*embeds.shape[:2], embeds.dtype)
        return self._run(embeds, positions, attend, cache)

    def decode(
        self,
        embeds: Float[Array, "group sample embed"],
        positions: Int[Array, "group sample"],
        prefix: Cache,
        prefix_mask: Bool[Array, "group context"],
        suffix: Cache,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, "group sample embed"], Cache]:
        """One more token for every sample of every group.

        A group's samples share one prefix, which is never copied: they attend to it
        together, and each to its own suffix; the two parts are merged.

        Args:
          embeds: of each sample's latest token.
          positions: of that token.
          prefix: of each group; context is the prompt.
          prefix_mask: False on the prompt's padding.
          suffix: of each sample; batch is group * sample, context the new tokens.
          step: index of the latest token in the suffix.

        Returns:
          Normed hidden states, and the suffix with the token's keys and values.
        """
        group, sample, _ = embeds.shape
        length = suffix.key.shape[3]
        prefix_seen = jnp.broadcast_to(
            prefix_mask[:, None], (group, sample, prefix_mask.shape[1])
        )
        suffix_seen = jnp.broadcast_to(
            jnp.arange(length)[None, None] <= step, (group * sample, 1, length)
        )

        def attend(query, key, value, layer, suffix):
            def rows(x):
                return x.reshape(group * sample, 1, *x.shape[2:])

            suffix = write(suffix, layer, rows(key), rows(value), start=step)
            own, own_weight = partial_attention(
                rows(query), suffix.key[layer], suffix.value[layer], suffix_seen
            )
            shared = partial_attention(
                query, prefix.key[layer], prefix.value[layer], prefix_seen
            )
            own = (own.reshape(query.shape), own_weight.reshape(query.shape[:3]))
            return merge_attention([shared, own]), suffix

        return self._run(embeds, positions, attend, suffix)

    def empty_cache(self, batch: int, length: int, dtype: jnp.dtype) -> Cache:
        """Zeros for `length` tokens of `batch` sequences."""
        config = self.config
        shape = (config.num_layers, batch, config.num_kv_heads, length, config.head_dim)
        return Cache(key=jnp.zeros(shape, dtype), value=jnp.zeros(shape, dtype))

    def _run(
        self, x: Array, positions: Array, attend: Attend, cache: Any, remat=False
    ) -> tuple[Array, Any]:
        """The layers in turn; the cache rides in the carry, so that there is one."""
        angles = rotary_angles(
            positions, self.config.head_dim, theta=self.config.rope_theta
        )
        graphdef, weights = nnx.split(self.layers)

        def body(carry, xs):
            layer, weights = xs
            return nnx.merge(graphdef, weights)(
                carry[0], angles, attend, layer, carry[1]
            ), None

        body = jax.checkpoint(body) if remat else body
        num_layers = self.config.num_layers
        (x, cache), _ = jax.lax.scan(
            body,
            (x, cache),
            (jnp.arange(num_layers), weights),
            unroll=num_layers <= MOST_UNROLLED,
        )
        return self.norm(x), cache


def write(cache: Cache, layer: Array, key: Array, value: Array, start: Any) -> Cache:
    """The cache with one layer's keys and values placed from token `start` on."""

    def place(buffer: Array, new: Array) -> Array:
        new = new.swapaxes(1, 2)[None]
        return jax.lax.dynamic_update_slice(buffer, new, (layer, 0, 0, start, 0))

    return Cache(key=place(cache.key, key), value=place(cache.value, value))
