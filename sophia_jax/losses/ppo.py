"""PPO: advantages of each token from a critic, and what policy and critic minimise."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sophia_jax.losses.grpo import grpo_token_loss, sequence_mean
from sophia_jax.losses.log_space import in_float32
from sophia_jax.types import Array, Bool, Float, Scalar, typed

__all__ = [
    "generalized_advantages",
    "ppo_token_loss",
    "value_loss",
    "whitened",
]

SMALL = 1e-4  # beside the deviation of advantages


@typed
def generalized_advantages(
    rewards: Float[Array, "batch token"],
    values: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    discount: Scalar = 1.0,
    decay: Scalar = 0.95,
) -> Float[Array, "batch token"]:
    """How much better each token was than its critic had thought.

        δ_l = r_l + γ V_{l+1} - V_l,   A_l = δ_l + γ λ A_{l+1}

    with V and A of 0 after the last token: an answer ends there, also where it was cut
    off. λ = 1 gives the returns less the values, of no bias and all their noise; λ = 0
    gives δ, of no noise but the next token's, and biased by the critic's errors.

    Args:
      rewards: r_l, paid for token l; an outcome is paid for the last one.
      values: V_l, of the state before token l.
      mask: True at the tokens of the answer. What lies under False is never read.
      discount: γ in [0, 1].
      decay: λ in [0, 1].

    Returns:
      A_l, constants (no gradient flows through them); 0 where the mask is False.
      A_l + V_l is the return that the critic learns.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete option is not in [0, 1].

    Reference:
      Schulman et al., 2015, "High-Dimensional Continuous Control Using Generalized
      Advantage Estimation", https://arxiv.org/abs/1506.02438, eq. (16).
    """
    for name, value in {"discount": discount, "decay": decay}.items():
        if not isinstance(value, jax.core.Tracer) and not 0 <= value <= 1:
            raise ValueError(f"{name}: expected in [0, 1], got {value}")
    rewards, values = in_float32(rewards, values)
    rewards, values = (jnp.where(mask, each, 0) for each in (rewards, values))

    def earlier(later: tuple[Array, Array], token: tuple) -> tuple[tuple, Array]:
        next_value, next_advantage = later
        reward, value, is_token = token
        error = reward + discount * next_value - value
        advantage = error + discount * decay * next_advantage
        carry = (
            jnp.where(is_token, value, next_value),
            jnp.where(is_token, advantage, next_advantage),
        )
        return carry, jnp.where(is_token, advantage, 0)

    end = jnp.zeros_like(rewards[:, 0])
    tokens = rewards.T, values.T, mask.T
    _, advantages = jax.lax.scan(earlier, (end, end), tokens, reverse=True)
    return jax.lax.stop_gradient(advantages.T)


@typed
def whitened(
    advantages: Float[Array, "batch token"], mask: Bool[Array, "batch token"]
) -> Float[Array, "batch token"]:
    """Advantages of mean 0 and deviation 1 over all tokens of the batch.

        Â = (A - mean A) / (std A + 1e-4)

    Args:
      advantages: of each token.
      mask: True at the tokens of the answers. What lies under False is never read.

    Returns:
      Â; 0 where the mask is False, and everywhere for equal advantages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      Huang et al., 2022, "The 37 Implementation Details of Proximal Policy
      Optimization", detail 7 of the core ones.
    """
    (advantages,) = in_float32(advantages)
    known = jnp.where(mask, advantages, 0)
    count = jnp.maximum(jnp.sum(mask), 1)
    centred = jnp.where(mask, known - jnp.sum(known) / count, 0)
    deviation = jnp.sqrt(jnp.sum(centred**2) / count)
    # A rounded mean is no reason to learn.
    low = jnp.min(jnp.where(mask, advantages, jnp.inf))
    high = jnp.max(jnp.where(mask, advantages, -jnp.inf))
    return jnp.where(high > low, centred / (deviation + SMALL), 0)


@typed
def ppo_token_loss(
    policy_log_probs: Float[Array, "batch token"],
    behavior_log_probs: Float[Array, "batch token"],
    advantages: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    clip: Scalar = 0.2,
) -> Float[Array, "batch token"]:
    """The clipped surrogate of each token, with an advantage of its own.

        L_l = -min(r A_l, clip(r, 1 - ε, 1 + ε) A_l),   r = π_θ / μ

    Args:
      policy_log_probs: log π_θ of each token, in nats.
      behavior_log_probs: log μ, when the token was sampled; a constant.
      advantages: A_l of each token; a constant.
      mask: True at the tokens of the answer. What lies under False is never read.
      clip: ε >= 0; a ratio earns nothing by going further from 1.

    Returns:
      Loss of each token; 0 where the mask is False. `sequence_mean` and its kin reduce
      it.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete clip is negative.

    Reference:
      Schulman et al., 2017, "Proximal Policy Optimization Algorithms",
      https://arxiv.org/abs/1707.06347, eq. (7).
    """
    return grpo_token_loss(
        policy_log_probs,
        behavior_log_probs,
        advantages,
        mask,
        clip_low=clip,
        clip_high=clip,
    )


@typed
def value_loss(
    values: Float[Array, "batch token"],
    behavior_values: Float[Array, "batch token"],
    returns: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    clip: Scalar = 0.2,
) -> Float[Array, " batch"]:
    """The critic's squared error, which earns nothing by leaving its old values fast.

        L = 1/|y| Σ_l ½ max((V - R)², (V̂ - R)²),   V̂ = V_old + clip(V - V_old, -ε, ε)

    Args:
      values: V of each token.
      behavior_values: V_old, when the answers were sampled; constants.
      returns: R = A + V_old; constants.
      mask: True at the tokens of the answer. What lies under False is never read.
      clip: ε > 0, in units of the reward; inf for the plain squared error.

    Returns:
      Loss per sequence; 0 where the mask is empty. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete clip is not positive.

    Reference:
      Schulman et al., 2017, https://arxiv.org/abs/1707.06347, the code of its authors;
      described by Huang et al., 2022, "The 37 Implementation Details of Proximal Policy
      Optimization", detail 9 of the core ones.
    """
    if not isinstance(clip, jax.core.Tracer) and not clip > 0:
        raise ValueError(f"clip: expected > 0, got {clip}")
    values, old, returns = in_float32(values, behavior_values, returns)
    values, old, returns = (jnp.where(mask, x, 0) for x in (values, old, returns))
    old, returns = jax.lax.stop_gradient((old, returns))
    held = old + jnp.clip(values - old, -clip, clip)
    error = jnp.maximum((values - returns) ** 2, (held - returns) ** 2) / 2
    return sequence_mean(error, mask)
