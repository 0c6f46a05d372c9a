"""Rewards learnt from preferences."""

from __future__ import annotations

import jax

from sophia_jax.losses.log_space import in_float32
from sophia_jax.types import Array, Float, typed

__all__ = ["preference_loss"]


@typed
def preference_loss(
    chosen_rewards: Float[Array, " batch"], rejected_rewards: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """Negative log-likelihood of preferences, as Bradley and Terry's model has them.

        L = -log σ(r_w - r_l)

    What is added to all rewards of a question changes nothing. `f_dpo_loss` is this of
    the rewards that a policy tells, β f'(u).

    Args:
      chosen_rewards: r_w of the preferred answer of each pair.
      rejected_rewards: r_l of the other one.

    Returns:
      Loss of each pair, in nats; float32 or better. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      Bradley and Terry, 1952, "Rank Analysis of Incomplete Block Designs"; Ouyang et
      al., 2022, https://arxiv.org/abs/2203.02155, eq. (1).
    """
    chosen, rejected = in_float32(chosen_rewards, rejected_rewards)
    return -jax.nn.log_sigmoid(chosen - rejected)
