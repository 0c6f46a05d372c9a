"""Log probabilities of given tokens, with or without holding all logits at once."""

from __future__ import annotations

import functools
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
    vocab_size: int | None = None,
) -> Float[Array, "batch token"]:
    """Log probability of each given token, with logits formed `chunk` tokens at a time.

        log π(y_l | y_<l) = z_l[y_l] - log Σ_v exp(z_l[v]),   z = h W

    Equal to `token_log_probs(hidden @ head, token_ids)`, but neither the value nor
    the gradient ever holds the logits of more than `chunk` tokens: the backward pass
    forms them again from the log-normaliser of each token. A chunk takes the same few
    positions of every row, so a batch axis split over devices stays split; only a
    chunk smaller than the batch cuts rows.

    Args:
      hidden: h, the last hidden states.
      head: W, the output embedding; its gradient is summed over chunks in float32.
      token_ids: y, in [0, vocab). Any other id gives nan, to be masked by the caller.
      chunk: number of tokens, over the whole batch, whose logits exist together, >= 1.
      vocab_size: columns of W that are tokens, where the rest is padding; None for all.

    Returns:
      Log probability of each token in nats, in float32 or better.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: chunk is below 1, or vocab_size is not in [1, vocab].

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, the factorised policy before
      eq. (3).
    """
    if chunk < 1:
        raise ValueError(f"chunk: expected >= 1 token, got {chunk}")
    vocab_size = head.shape[1] if vocab_size is None else vocab_size
    if not 1 <= vocab_size <= head.shape[1]:
        raise ValueError(
            f"vocab_size: expected 1 to {head.shape[1]} tokens, got {vocab_size}"
        )
    batch, token = token_ids.shape
    rows = max(1, min(batch, chunk))
    positions = max(1, min(token, chunk // rows))
    known = (token_ids >= 0) & (token_ids < vocab_size)
    blocks = (
        _split(array, rows, positions)
        for array in (hidden, jnp.where(known, token_ids, 0))
    )
    log_probs = _join(_block_log_probs(vocab_size, *blocks, head), batch, token)
    return jnp.where(known, log_probs, jnp.nan)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _block_log_probs(
    vocab_size: int, hidden: Array, token_ids: Array, head: Array
) -> Array:
    """[block rows positions], from hidden [block rows positions embed], block by
    block, and so is its gradient; of the logits, only log Σ_v exp(z_v) is kept."""
    return _forward(vocab_size, hidden, token_ids, head)[0]


def _forward(
    vocab_size: int, hidden: Array, token_ids: Array, head: Array
) -> tuple[Array, tuple]:
    def block(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        logits = _logits(inputs[0], head, vocab_size)
        log_normaliser = jax.nn.logsumexp(logits, axis=-1)
        chosen = jnp.take_along_axis(logits, inputs[1][..., None], axis=-1)[..., 0]
        return chosen - log_normaliser, log_normaliser

    log_probs, log_normaliser = jax.lax.map(block, (hidden, token_ids))
    return log_probs, (hidden, token_ids, head, log_normaliser)


def _backward(
    vocab_size: int, residuals: tuple, gradient: Array
) -> tuple[Array, None, Array]:
    """With z formed again from h, and l = log Σ_v exp(z_v) of the forward pass:

    dz_v = g (1[v = y] - exp(z_v - l)),   dh = dz W',   dW = Σ h' dz
    """
    hidden, token_ids, head, log_normaliser = residuals

    def block(into_head: Array, inputs: tuple) -> tuple[Array, Array]:
        hidden, token_ids, log_normaliser, gradient = inputs
        logits = _logits(hidden, head, vocab_size)
        chosen = jnp.arange(head.shape[1])[None, None] == token_ids[..., None]
        probs = jnp.exp(logits - log_normaliser[..., None])
        into_logits = gradient[..., None] * (chosen - probs)
        wide = {"preferred_element_type": logits.dtype}
        into_hidden = jnp.einsum("btv,dv->btd", into_logits, head, **wide)
        into_head += jnp.einsum("btd,btv->dv", hidden, into_logits, **wide)
        return into_head, into_hidden.astype(hidden.dtype)

    # Summed in float32 or better: a running sum in bfloat16 would stop growing.
    into_head, into_hidden = jax.lax.scan(
        block,
        jnp.zeros(head.shape, log_normaliser.dtype),
        (hidden, token_ids, log_normaliser, gradient),
    )
    return into_hidden, None, into_head.astype(head.dtype)


_block_log_probs.defvjp(_forward, _backward)


def _logits(hidden: Array, head: Array, vocab_size: int) -> Array:
    """z = h W, in float32 or better; -inf where W is padding."""
    narrow = jnp.promote_types(hidden.dtype, head.dtype)
    logits = jnp.einsum(
        "btd,dv->btv",
        hidden,
        head,
        preferred_element_type=jnp.promote_types(narrow, jnp.float32),
    )
    if vocab_size == head.shape[1]:
        return logits
    is_token = jnp.arange(head.shape[1])[None, None] < vocab_size
    return jnp.where(is_token, logits, -jnp.inf)


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
