"""Losses as pure functions of log probabilities: one value per sequence, in nats."""

from sophia_jax.losses.divergences import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    Divergence,
    alpha_divergence,
    divergence_from_generator,
)
from sophia_jax.losses.f_dpo import f_dpo_loss, f_dpo_reward, optimal_policy
from sophia_jax.losses.log_probs import chunked_token_log_probs, token_log_probs
from sophia_jax.losses.sft import sft_loss
from sophia_jax.losses.sophia import sophia_loss

__all__ = [
    "FORWARD_KL",
    "JENSEN_SHANNON",
    "REVERSE_KL",
    "Divergence",
    "alpha_divergence",
    "chunked_token_log_probs",
    "divergence_from_generator",
    "f_dpo_loss",
    "f_dpo_reward",
    "optimal_policy",
    "sft_loss",
    "sophia_loss",
    "token_log_probs",
]
