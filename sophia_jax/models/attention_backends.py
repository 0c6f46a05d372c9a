"""Attention of whole rows, by the fastest means that the devices have."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from sophia_jax.models.attention_shares import Shares
from sophia_jax.models.layers import attention
from sophia_jax.models.packed_attention import packed_attention
from sophia_jax.models.remat import ATTENTION, kept
from sophia_jax.models.splash import block_for, splash_attention, splash_kernel
from sophia_jax.sharding import Partition
from sophia_jax.types import Array, Bool, Float, Int, typed

__all__ = ["Backend", "causal_attention", "causal_mask", "full_attention"]

Backend = Literal["auto", "xla", "splash", "cudnn"]

# Tokens in a block of attention, and in the longest row that forms all its scores: a
# CPU's best by scripts/measure_attention.py (128 tokens: 1.2 to 1.8 times as fast).
BLOCK = 64
LONGEST_DENSE = 64

# cuDNN reads the mask of packed rows from memory, 2 bytes a score: at most a GiB.
MOST_CUDNN_SCORES = 2**29
WIDEST_CUDNN_HEAD = 128  # 256 from Hopper on
CUDNN_MULTIPLE = 8  # of tokens, under a mask, and of a head's width


def causal_mask(
    segment_ids: Int[Array, "batch token"],
    context_ids: Int[Array, "batch context"] | None = None,
    first_query: int | Int[Array, ""] = 0,
) -> Bool[Array, "batch token context"]:
    """Tokens see themselves and what stands before them in their own segment.

    Segment 0 is padding: it is seen by padding alone.

    Args:
      segment_ids: of the queries.
      context_ids: of the keys; None for those of the queries.
      first_query: the place of the first query among the keys.
    """
    context_ids = segment_ids if context_ids is None else context_ids
    same = segment_ids[:, :, None] == context_ids[:, None, :]
    places = first_query + jnp.arange(segment_ids.shape[1])
    context = jnp.arange(context_ids.shape[1])
    return same & (places[:, None] >= context[None])[None]


@typed
def causal_attention(
    query: Float[Array, "batch token heads head_dim"],
    key: Float[Array, "batch token kv_heads head_dim"],
    value: Float[Array, "batch token kv_heads head_dim"],
    segment_ids: Int[Array, "batch token"],
    *,
    backend: Backend = "auto",
    partition: Partition | None = None,
    interpret: bool = False,
) -> Float[Array, "batch token heads head_dim"]:
    """Causal grouped-query attention of each segment to itself.

        oₜ = Σₛ softmaxₛ(qₜ kₛ / √d) vₛ,   s <= t in t's segment

    On a mesh each device computes its own rows, heads and queries. A share of the
    tokens are its queries, for which the keys and values of the whole row are gathered
    (and their gradients summed and scattered), layer by layer; the last devices along
    that axis have the most blocks below the diagonal, and the others wait for them.
    Where the heads of keys do not divide, every device has them all and takes those
    that its queries need.

    Backends:
      xla: `packed_attention`, or all scores at once in short rows. Anywhere.
      splash: the Pallas kernels of `splash_attention`, on TPU; rows are padded to a
        multiple of their block. Blocks above the diagonal are skipped, those between
        two segments are masked.
      cudnn: `jax.nn.dot_product_attention` on an NVIDIA GPU, in 16 bits alone. Its
        public form knows no segments, so that they come as a mask of all scores, which
        is read from memory (2 bytes a score and row), for all heads the same.
      auto: splash on TPU; cudnn on GPU where it takes the width and dtype of the heads
        and the mask has at most a GiB; else xla.

    Args:
      query, key, value: each key head serves heads / kv_heads query heads in a row.
      segment_ids: a run of equal ids is a segment, and no id has two runs; 0 is
        padding, which sees nothing.
      backend: what computes it.
      partition: the mesh, and what lies along its axes; None for one device.
      interpret: run splash on other devices than a TPU, slowly.

    Returns:
      One vector per token and head; 0, with gradient 0, for padding.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      InputError: rows, tokens or heads do not divide over the mesh.
    """
    shares = Shares.of_rows(partition, query, key)
    scores = query.shape[0] * query.shape[1] ** 2 // shares.num_scores
    backend = _resolve(backend, partition, query, scores)
    arrays = (query, key, value, segment_ids)
    if backend != "splash":
        attend = {"xla": _causal_xla, "cudnn": _causal_cudnn}[backend]
        return shares.attend(attend, None, *arrays)
    token = query.shape[1] // shares.num_tokens
    padding = -token % block_for(token)
    kernel = splash_kernel(
        (token + padding) * shares.num_tokens,
        causal=True,
        token_shares=shares.num_tokens,
        interpret=interpret,
    )
    return shares.attend(_splash, kernel, *arrays, padding=padding)


@typed
def full_attention(
    query: Float[Array, "tile token heads head_dim"],
    key: Float[Array, "tile token heads head_dim"],
    value: Float[Array, "tile token heads head_dim"],
    *,
    backend: Backend = "auto",
    partition: Partition | None = None,
    interpret: bool = False,
) -> Float[Array, "tile token heads head_dim"]:
    """Attention of each of a tile's tokens to all of them, without a mask.

    The backends are those of `causal_attention`: splash pads the tokens (1,025 to
    1,152), and masks the padding; cudnn needs no mask here; xla forms all scores.

    Args:
      query, key, value: as many heads of keys as of queries.
      backend: what computes it.
      partition: the mesh, and what lies along its axes; None for one device.
      interpret: run splash on other devices than a TPU, slowly.

    Returns:
      One vector per token and head.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      InputError: the tiles do not divide over the mesh.
    """
    backend = _resolve(backend, partition, query, scores=0)
    if backend == "xla":
        return kept(attention(query, key, value), ATTENTION)
    shares = Shares.of_tiles(partition, query)
    arrays = (query, key, value, jnp.ones(query.shape[:2], jnp.int32))
    if backend == "cudnn":
        return shares.attend(_full_cudnn, None, *arrays)
    padding = -query.shape[1] % block_for(query.shape[1])
    kernel = splash_kernel(query.shape[1] + padding, causal=False, interpret=interpret)
    return shares.attend(_splash, kernel, *arrays, padding=padding)


def _resolve(
    backend: Backend, partition: Partition | None, query: Array, scores: int
) -> Backend:
    """What `auto` means on the devices at hand; `scores` are those under a mask."""
    if backend != "auto":
        return backend
    platform = jax.default_backend()
    if partition is not None:
        platform = partition.mesh.devices.flat[0].platform
    if platform == "tpu":
        return "splash"
    narrow = query.dtype in (jnp.bfloat16, jnp.float16)
    small = query.shape[3] <= WIDEST_CUDNN_HEAD and scores <= MOST_CUDNN_SCORES
    return "cudnn" if platform == "gpu" and narrow and small else "xla"


def _causal_xla(_, query, key, value, ids, context_ids, first_query):
    if key.shape[1] > LONGEST_DENSE:
        return packed_attention(
            query, key, value, context_ids, block=BLOCK, first_query=first_query
        )
    mask = causal_mask(ids, context_ids, first_query)
    out = kept(attention(query, key, value, mask), ATTENTION)
    return _without_padding(out, ids)


def _causal_cudnn(_, query, key, value, ids, context_ids, first_query):
    token = query.shape[1]
    query, ids = (_to_multiple(x, axis=1) for x in (query, ids))
    key, value, context_ids = (
        _to_multiple(x, axis=1) for x in (key, value, context_ids)
    )
    mask = causal_mask(ids, context_ids, first_query)[:, None]
    out = _cudnn(query, key, value, mask=mask)
    return _without_padding(out, ids)[:, :token]


def _full_cudnn(_, query, key, value, ids, context_ids, first_query):
    return _cudnn(query, key, value)


def _cudnn(query: Array, key: Array, value: Array, **options: Array) -> Array:
    head_dim = query.shape[3]
    out = jax.nn.dot_product_attention(
        *(_to_multiple(x, axis=3) for x in (query, key, value)),
        scale=head_dim**-0.5,
        implementation="cudnn",
        **options,
    )
    return kept(out[..., :head_dim], ATTENTION)


def _splash(kernel, query, key, value, ids, context_ids, first_query):
    # The kernel's mask knows where its queries stand.
    return splash_attention(kernel, query, key, value, ids, context_ids)


def _without_padding(out: Array, ids: Array) -> Array:
    return jnp.where((ids > 0)[..., None, None], out, 0)


def _to_multiple(x: Array, axis: int) -> Array:
    """Padded with zeros to what cuDNN takes."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, -x.shape[axis] % CUDNN_MULTIPLE)
    return jnp.pad(x, padding)
