"""Splash attention: JAX's kernels of flash attention for TPU."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_kernel import (
    SplashAttentionKernel,
)

from sophia_jax.models.remat import ATTENTION
from sophia_jax.types import Array, Float, Int

__all__ = ["SplashAttentionKernel", "block_for", "splash_attention", "splash_kernel"]

LANES = 128  # of a TPU's registers: blocks are multiples of it
LONGEST_BLOCK = 512
HALF_LANES = 64  # the narrowest heads that the kernels take


def block_for(token: int) -> int:
    """The block for rows of so many tokens, which are padded to a multiple of it.

    As few blocks as there can be of at most 512 tokens, each as short as it can be:
    384 for the 1,025 tokens of a tile, of which 127 more are padding.
    """
    num_blocks = -(-token // LONGEST_BLOCK)
    return -(-token // (num_blocks * LANES)) * LANES


@functools.lru_cache(maxsize=64)
def splash_kernel(
    token: int, *, causal: bool, token_shares: int = 1, interpret: bool = False
) -> SplashAttentionKernel:
    """The kernel for rows of one length, with its mask, on the host.

    Args:
      token: of a row, a multiple of its block, on all devices together.
      causal: whether tokens see only themselves and what stands before them.
      token_shares: devices that each have an equal share of a row's queries.
      interpret: run on a device without the kernel's instructions, slowly.
    """
    block = block_for(token // token_shares)
    sizes = {
        size.name: block
        for size in dataclasses.fields(splash.BlockSizes)
        if size.name.startswith("block_")
    }
    shape = (token, token)
    mask = splash.CausalMask(shape, shard_count=token_shares)
    mask = mask if causal else splash.FullMask(shape)
    # It takes seconds to form for long rows, so it is kept, and not as traced arrays.
    with jax.ensure_compile_time_eval():
        kernel = splash.make_splash_mha(
            splash.MultiHeadMask([mask]),
            block_sizes=splash.BlockSizes(**sizes),
            head_shards=1,
            q_seq_shards=token_shares,
            residual_checkpoint_name=ATTENTION,
            interpret=interpret,
        )
    return jax.tree.map(np.asarray, kernel)


def splash_attention(
    kernel: SplashAttentionKernel,
    query: Float[Array, "batch token heads head_dim"],
    key: Float[Array, "batch context kv_heads head_dim"],
    value: Float[Array, "batch context kv_heads head_dim"],
    segment_ids: Int[Array, "batch token"],
    context_ids: Int[Array, "batch context"],
) -> Float[Array, "batch token heads head_dim"]:
    """Grouped-query attention among tokens of equal ids, as far as the mask allows.

    Heads of other widths than 64 and multiples of 128 are padded with zeros, which
    change no product.

    Args:
      kernel: of `splash_kernel`, for these lengths.
      query, key, value: each key head serves heads / kv_heads query heads in a row.
      segment_ids: of the queries, whose outputs are 0 where these are 0.
      context_ids: of the keys.
    """
    head_dim = query.shape[3]
    wide = HALF_LANES if head_dim <= HALF_LANES else -(-head_dim // LANES) * LANES

    def by_head(x: Array) -> Array:
        """[batch token heads head_dim] -> [batch heads token wide]."""
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, wide - head_dim)))
        return x.swapaxes(1, 2)

    ids = splash.SegmentIds(q=segment_ids, kv=context_ids)
    scaled = (query * head_dim**-0.5).astype(query.dtype)
    out = jax.vmap(kernel)(*map(by_head, (scaled, key, value)), ids)
    out = out.swapaxes(1, 2)[..., :head_dim]
    return jnp.where((segment_ids > 0)[..., None, None], out, 0)
