"""Inference-time scaling: answers chosen by a judge, and the theory of when it pays."""

from sophia_jax.inference_scaling.samplers import (
    best_of_k,
    majority_vote,
    reward_weighted_probs,
    reward_weighted_sample,
    weighted_majority_vote,
)

__all__ = [
    "best_of_k",
    "majority_vote",
    "reward_weighted_probs",
    "reward_weighted_sample",
    "weighted_majority_vote",
]
