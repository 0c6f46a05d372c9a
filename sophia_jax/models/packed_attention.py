"""Attention within packed rows that visits only what a segment can see."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from sophia_jax.models.remat import ATTENTION, kept
from sophia_jax.types import Array, Float, Int, typed

__all__ = ["packed_attention"]

UNSEEN = -1e30  # a score that no softmax notices, and whose differences are finite


@typed
def packed_attention(
    query: Float[Array, "batch token heads head_dim"],
    key: Float[Array, "batch context kv_heads head_dim"],
    value: Float[Array, "batch context kv_heads head_dim"],
    segment_ids: Int[Array, "batch context"],
    *,
    block: int,
    first_query: int | Int[Array, ""] = 0,
) -> Float[Array, "batch token heads head_dim"]:
    """Causal grouped-query attention of each segment to itself.

        oₜ = Σₛ exp(qₜ kₛ / √d - lₜ) vₛ,   lₜ = log Σₛ exp(qₜ kₛ / √d),   aₜ <= s <= t

    where aₜ is the first token of t's segment. Equal to `attention` under
    `causal_mask`, but of the scores there is never more than one block of queries
    against one block of keys, forward and backward: the backward pass forms them
    again from l. For each block of queries the loop over blocks of keys begins at the
    diagonal and ends where the last row's segments begin, so blocks without a common
    segment are not visited.

    The queries may be a share of the rows' tokens: of a device that holds some of the
    queries and all keys.

    Args:
      query, key, value: each key head serves heads / kv_heads query heads in a row.
      segment_ids: of the keys: a run of equal ids is a segment; 0 is padding, which
        sees nothing.
      block: tokens in a block, >= 1.
      first_query: where the queries stand among the keys: the place of the first.

    Returns:
      One vector per token and head; 0, with gradient 0, for padding.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: block is below 1.

    Reference:
      Dao et al., 2022, "FlashAttention", https://arxiv.org/abs/2205.14135, algorithms
      1 and 4 (its queries in the outer loop, as Dao, 2023, arXiv:2307.08691, has it).
    """
    if block < 1:
        raise ValueError(f"block: expected >= 1 token, got {block}")
    kv_heads = key.shape[2]

    def by_head(x: Array) -> Array:
        """[batch token heads head_dim] -> [batch kv_heads share token head_dim]."""
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0), (0, 0)))
        x = x.reshape(*x.shape[:2], kv_heads, -1, x.shape[3])
        return x.transpose(0, 2, 3, 1, 4)

    first_query = jnp.asarray(first_query, jnp.int32)
    starts = query_starts(segment_ids, first_query, query.shape[1], block)
    queries, keys, values = map(by_head, (query, key, value))
    out = _attend(queries, keys[:, :, 0], values[:, :, 0], starts, first_query, block)
    return out.transpose(0, 3, 1, 2, 4)[:, : query.shape[1]].reshape(query.shape)


def query_starts(
    segment_ids: Int[Array, "batch context"],
    first_query: Int[Array, ""],
    token: int,
    block: int,
) -> Int[Array, "batch padded"]:
    """`segment_starts` of the queries, padded to whole blocks of them."""
    context = segment_ids.shape[1]
    whole = jnp.pad(segment_ids, ((0, 0), (0, -context % block)))
    starts = jax.lax.dynamic_slice_in_dim(segment_starts(whole), first_query, token, 1)
    padding = ((0, 0), (0, -token % block))
    return jnp.pad(starts, padding, constant_values=whole.shape[1])


def segment_starts(segment_ids: Int[Array, "batch token"]) -> Int[Array, "batch token"]:
    """The first token of each token's run of equal ids; past the end for padding."""
    token = segment_ids.shape[1]
    before = jnp.pad(segment_ids, ((0, 0), (1, 0)))[:, :-1]
    places = jnp.arange(token)[None]
    begins = jnp.where(segment_ids != before, places, 0)
    return jnp.where(segment_ids > 0, jax.lax.cummax(begins, axis=1), token)


def blocks_back(
    starts: Int[Array, "batch token"],
    block: int,
    first_query: int | Int[Array, ""] = 0,
    num_blocks: int | None = None,
) -> tuple[Int[Array, " blocks"], Int[Array, " blocks"]]:
    """The last of the `num_blocks` blocks of keys that each block of queries needs, and
    how many it needs from there back."""
    own = jnp.arange(starts.shape[1] // block)
    last = (first_query + (own + 1) * block - 1) // block
    last = jnp.minimum(last, (len(own) if num_blocks is None else num_blocks) - 1)
    first = jnp.min(starts.reshape(len(starts), -1, block), axis=(0, 2)) // block
    return last, jnp.maximum(last - first + 1, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _attend(
    query: Array,
    key: Array,
    value: Array,
    starts: Array,
    first_query: Array,
    block: int,
) -> Array:
    """[batch kv_heads share token head_dim] of queries, [batch kv_heads context
    head_dim] of keys and values."""
    return _forward(query, key, value, starts, first_query, block)[0]


def _forward(query, key, value, starts, first_query, block):
    context = key.shape[2]
    last, counts = blocks_back(starts, block, first_query, context // block)

    def query_block(_, number):
        own, seen_from = _take(query, number, block, 3), _take(starts, number, block, 1)
        place = first_query + number * block

        def visit(back, carry):
            """Fold one block of keys into the running maximum, sum and output."""
            highest, total, out = carry
            at = last[number] - back
            scores = _scores(own, _take(key, at, block, 2), seen_from, place, at)
            new_highest = jnp.maximum(highest, scores.max(axis=-1))
            weights = jnp.exp(scores - new_highest[..., None])
            shrink = jnp.exp(highest - new_highest)
            out = out * shrink[..., None] + _product(
                "bkgts,bksd->bkgtd", weights, _take(value, at, block, 2)
            )
            return new_highest, total * shrink + weights.sum(axis=-1), out

        zeros = jnp.zeros(own.shape, _wide(own))
        start = (zeros[..., 0] + UNSEEN, zeros[..., 0], zeros)
        highest, total, out = jax.lax.fori_loop(0, counts[number], visit, start)
        some = (seen_from < context)[:, None, None]
        out = jnp.where(some[..., None], out / total[..., None], 0)
        log_weight = jnp.where(some, highest + jnp.log(total), 0)
        return None, (out.astype(query.dtype), log_weight)

    _, (out, log_weight) = jax.lax.scan(query_block, None, jnp.arange(len(counts)))
    out, log_weight = (kept(_join(x), ATTENTION) for x in (out, log_weight))
    return out, (query, key, value, starts, first_query, out, log_weight)


def _backward(block, residuals, gradient):
    """Dao, 2023, equations of section 2.3: P from l; D = rowsum(dO * O);
    dS = P * (dO V' - D)."""
    query, key, value, starts, first_query, out, log_weight = residuals
    context = key.shape[2]
    last, counts = blocks_back(starts, block, first_query, context // block)
    gradient = jnp.where((starts < context)[:, None, None, :, None], gradient, 0)
    drift = _product("bkgtd,bkgtd->bkgt", gradient, out)
    scale = query.shape[-1] ** -0.5

    def query_block(carry, number):
        own, above = (_take(x, number, block, 3) for x in (query, gradient))
        weight, drifted = (_take(x, number, block, 3) for x in (log_weight, drift))
        seen_from = _take(starts, number, block, 1)
        place = first_query + number * block

        def visit(back, carry):
            into_query, into_key, into_value = carry
            at = last[number] - back
            keys, values = (_take(x, at, block, 2) for x in (key, value))
            scores = _scores(own, keys, seen_from, place, at)
            weights = jnp.exp(scores - weight[..., None])
            into_weights = _product("bkgtd,bksd->bkgts", above, values)
            into_scores = scale * weights * (into_weights - drifted[..., None])
            into_query += _product("bkgts,bksd->bkgtd", into_scores, keys)
            into_key = _add(
                into_key, _product("bkgtd,bkgts->bkds", own, into_scores), at
            )
            into_value = _add(
                into_value, _product("bkgtd,bkgts->bkds", above, weights), at
            )
            return into_query, into_key, into_value

        start = jnp.zeros(own.shape, _wide(own))
        into_query, *carry = jax.lax.fori_loop(
            0, counts[number], visit, (start, *carry)
        )
        return tuple(carry), into_query.astype(query.dtype)

    # Tokens last: the products then read the scores as they stand.
    zeros = tuple(jnp.zeros_like(x.mT, _wide(x)) for x in (key, value))
    (into_key, into_value), into_query = jax.lax.scan(
        query_block, zeros, jnp.arange(len(counts))
    )
    return (
        _join(into_query),
        into_key.mT.astype(key.dtype),
        into_value.mT.astype(value.dtype),
        None,
        None,
    )


_attend.defvjp(_forward, _backward)


def _scores(
    query: Array, key: Array, seen_from: Array, place: Array, key_block: Array
) -> Array:
    """qₜ kₛ / √d where aₜ <= s <= t, in float32 or better; `place` is the first t."""
    block = key.shape[2]
    within = jnp.arange(block)
    tokens = (place + within)[None, :, None]
    context = (key_block * block + within)[None, None]
    seen = (context >= seen_from[..., None]) & (context <= tokens)
    scores = _product("bkgtd,bksd->bkgts", query, key) * query.shape[-1] ** -0.5
    return jnp.where(seen[:, None, None], scores, UNSEEN)


def _product(subscripts: str, one: Array, other: Array) -> Array:
    """In the inputs' narrower dtype, summed in float32 or better."""
    return jnp.einsum(
        subscripts,
        one.astype(other.dtype),
        other,
        preferred_element_type=_wide(other),
    )


def _wide(array: Array) -> jnp.dtype:
    return jnp.promote_types(array.dtype, jnp.float32)


def _take(array: Array, number: Array, block: int, axis: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(array, number * block, block, axis)


def _add(array: Array, update: Array, number: Array) -> Array:
    """Add to one block along the last axis, that of tokens."""
    block = update.shape[-1]
    total = _take(array, number, block, -1) + update
    return jax.lax.dynamic_update_slice_in_dim(array, total, number * block, -1)


def _join(blocks: Array) -> Array:
    """[number batch kv_heads share block ...] -> [batch kv_heads share token ...]."""
    number, batch, kv_heads, share, block = blocks.shape[:5]
    return jnp.moveaxis(blocks, 0, 3).reshape(
        batch, kv_heads, share, number * block, *blocks.shape[5:]
    )
