"""The SOPHIA policy gradient: log-likelihood weighted by the propagated reward."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sophia_jax.types import Array, Bool, Float, typed

__all__ = ["sophia_loss"]


@typed
def sophia_loss(
    policy_log_probs: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    reward: Float[Array, " batch"],
) -> Float[Array, " batch"]:
    """Loss whose negative gradient is the SOPHIA policy gradient.

        L = -R(x, v, y) Σ_l log π_θ(y_l | y_<l, x, v)

    The importance ratio π_θ/μ of the semi-off-policy objective is set to 1, as in the
    paper; there is no clipping, baseline or KL term. The reward is a constant: no
    gradient flows into it. What lies under a False mask is never read: it may be inf
    or nan.

    Args:
      policy_log_probs: log π_θ of each token, in nats; summed in float32 or better.
      mask: True at the tokens of the reasoning, its end token included.
      reward: R(x, v, y) of each sequence, in {0, 1} in the paper.

    Returns:
      Loss per sequence, in nats; 0 where the mask is empty. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (7).
    """
    surprise = -policy_log_probs.astype(
        jnp.promote_types(policy_log_probs.dtype, jnp.float32)
    )
    return jax.lax.stop_gradient(reward) * jnp.sum(jnp.where(mask, surprise, 0), axis=1)
