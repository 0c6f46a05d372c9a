"""Losses as pure functions of log probabilities: one value per sequence, in nats."""

from sophia_jax.losses.advantages import group_advantages, leave_one_out_advantages
from sophia_jax.losses.divergences import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    Divergence,
    alpha_divergence,
    divergence_from_generator,
)
from sophia_jax.losses.f_dpo import f_dpo_loss, f_dpo_reward, optimal_policy
from sophia_jax.losses.grpo import (
    constant_length_mean,
    grpo_loss,
    grpo_token_loss,
    sequence_mean,
    token_mean,
)
from sophia_jax.losses.log_probs import chunked_token_log_probs, token_log_probs
from sophia_jax.losses.off_policy import (
    advantage_weights,
    divergence_loss,
    geometric_mean_weights,
    penalized_rewards,
    sequence_log_ratio,
    sequence_weights,
    token_weights,
    weighted_sophia_loss,
)
from sophia_jax.losses.ppo import (
    generalized_advantages,
    ppo_token_loss,
    value_loss,
    whitened,
)
from sophia_jax.losses.preferences import preference_loss
from sophia_jax.losses.sft import sft_loss
from sophia_jax.losses.sophia import sophia_loss

__all__ = [
    "FORWARD_KL",
    "JENSEN_SHANNON",
    "REVERSE_KL",
    "Divergence",
    "advantage_weights",
    "alpha_divergence",
    "chunked_token_log_probs",
    "constant_length_mean",
    "divergence_from_generator",
    "divergence_loss",
    "f_dpo_loss",
    "f_dpo_reward",
    "generalized_advantages",
    "geometric_mean_weights",
    "group_advantages",
    "grpo_loss",
    "grpo_token_loss",
    "leave_one_out_advantages",
    "optimal_policy",
    "penalized_rewards",
    "ppo_token_loss",
    "preference_loss",
    "sequence_log_ratio",
    "sequence_mean",
    "sequence_weights",
    "sft_loss",
    "sophia_loss",
    "token_log_probs",
    "token_mean",
    "token_weights",
    "value_loss",
    "weighted_sophia_loss",
    "whitened",
]
