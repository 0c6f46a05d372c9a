"""Losses as pure functions of log probabilities: one value per sequence, in nats."""

from sophia_jax.losses.log_probs import chunked_token_log_probs, token_log_probs
from sophia_jax.losses.sft import sft_loss
from sophia_jax.losses.sophia import sophia_loss

__all__ = ["chunked_token_log_probs", "sft_loss", "sophia_loss", "token_log_probs"]
