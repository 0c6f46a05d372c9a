"""Supervised fine-tuning: the negative log-likelihood of the target tokens."""

from __future__ import annotations

import jax.numpy as jnp

from sophia_jax.types import Array, Bool, Float, typed

__all__ = ["sft_loss"]


@typed
def sft_loss(
    policy_log_probs: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
) -> Float[Array, " batch"]:
    """Negative log-likelihood of the masked-in tokens of each sequence.

        L = -Σ_l log π_θ(y_l | y_<l, x, v)

    A sum over tokens, not a mean, so that it equals `sophia_loss` at reward 1. What
    lies under a False mask is never read: it may be inf or nan.

    Args:
      policy_log_probs: log π_θ of each token, in nats; summed in float32 or better.
      mask: True at the tokens of the target.

    Returns:
      Loss per sequence, in nats; 0 where the mask is empty. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      Williams and Zipser, 1989, "A Learning Algorithm for Continually Running Fully
      Recurrent Neural Networks" (teacher forcing).
    """
    surprise = -policy_log_probs.astype(
        jnp.promote_types(policy_log_probs.dtype, jnp.float32)
    )
    return jnp.sum(jnp.where(mask, surprise, 0), axis=1)
