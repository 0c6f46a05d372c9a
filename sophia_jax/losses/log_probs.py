"""Log probabilities of given tokens, with or without holding all logits at once."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from sophia_jax.types import Array, Float, Int, typed

__all__ = ["chunked_token_log_probs", "token_log_probs"]


@typed
def token_log_probs(
    logits: Float[Array, "batch token vocab"],
    token_ids: Int[Array, "batch token"],
) -> Float[Array, "batch token"]:
    """Log probability of each given token under the softmax of its logits.

        log π(y_l | y_<l) = z_l[y_l] - log Σ_v exp(z_l[v])

    Args:
      logits: z, unnormalised, in nats; -inf bans a token.
      token_ids: y, in [0, vocab). Any other id gives nan, to be masked by the caller.

    Returns:
      Log probability of each token in nats, in float32 or better.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, the factorised policy before
      eq. (3).
    """
    log_probs = jax.nn.log_softmax(
        logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    )
    known = (token_ids >= 0) & (token_ids < logits.shape[-1])
    chosen_ids = jnp.where(known, token_ids, 0)[..., None]
    chosen = jnp.take_along_axis(log_probs, chosen_ids, axis=-1)[..., 0]
    return jnp.where(known, chosen, jnp.nan)


@typed
def chunked_token_log_probs(
    hidden: Float[Array, "batch token embed"],
    head: Float[Array, "embed vocab"],
    token_ids: Int[Array, "batch token"],
    *,
    chunk: int,
) -> Float[Array, "batch token"]:
    """Log probability of each given token, with logits formed `chunk` tokens at a time.

        log π(y_l | y_<l) = z_l[y_l] - log Σ_v exp(z_l[v]),   z = h W

    Equal to `token_log_probs(hidden @ head, token_ids)`, but neither the value nor
    the gradient ever holds the logits of more than `chunk` tokens: the backward pass
    forms them again. A chunk takes the same few positions of every row, so a batch
    axis split over devices stays split; only a chunk smaller than the batch cuts rows.

    Args:
      hidden: h, the last hidden states.
      head: W, the output embedding; its gradient is summed over chunks in float32.
      token_ids: y, in [0, vocab). Any other id gives nan, to be masked by the caller.
      chunk: number of tokens, over the whole batch, whose logits exist together, >= 1.

    Returns:
      Log probability of each token in nats, in float32 or better.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: chunk is below 1.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, the factorised policy before
      eq. (3).
    """
    if chunk < 1:
        raise ValueError(f"chunk: expected >= 1 token, got {chunk}")
    batch, token = token_ids.shape
    rows = max(1, min(batch, chunk))
    positions = max(1, min(token, chunk // rows))
    logits_dtype = jnp.promote_types(
        jnp.promote_types(hidden.dtype, head.dtype), jnp.float32
    )
    # A scan sums the gradient of what it closes over in that array's own dtype, which
    # bfloat16 would ruin; the cast back inside keeps the product in the given dtype.
    wide_head = head.astype(logits_dtype)

    def block_log_probs(block):
        block_hidden, block_ids = block
        logits = jnp.einsum(
            "btd,dv->btv",
            block_hidden,
            wide_head.astype(head.dtype),
            preferred_element_type=logits_dtype,
        )
        return token_log_probs(logits, block_ids)

    blocks = _split(hidden, rows, positions), _split(token_ids, rows, positions)
    # Inside a scan the loop itself keeps the two evaluations apart.
    forget_logits = jax.checkpoint(block_log_probs, prevent_cse=False)
    return _join(jax.lax.map(forget_logits, blocks), batch, token)


def _split(array: Array, rows: int, positions: int) -> Array:
    """[batch token ...] -> [block rows positions ...], padded with zeros."""
    batch, token, *rest = array.shape
    row_blocks, token_blocks = math.ceil(batch / rows), math.ceil(token / positions)
    padding = [(0, row_blocks * rows - batch), (0, token_blocks * positions - token)]
    padded = jnp.pad(array, padding + [(0, 0)] * len(rest))
    grid = padded.reshape(row_blocks, rows, token_blocks, positions, *rest)
    return grid.swapaxes(1, 2).reshape(
        row_blocks * token_blocks, rows, positions, *rest
    )


def _join(blocks: Array, batch: int, token: int) -> Array:
    """[block rows positions] -> [batch token]: the inverse of `_split`."""
    _, rows, positions = blocks.shape
    row_blocks, token_blocks = math.ceil(batch / rows), math.ceil(token / positions)
    grid = blocks.reshape(row_blocks, token_blocks, rows, positions).swapaxes(1, 2)
    return grid.reshape(row_blocks * rows, token_blocks * positions)[:batch, :token]
