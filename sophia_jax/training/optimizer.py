"""AdamW with the paper's schedule."""

from __future__ import annotations

import jax
import optax

from sophia_jax.config import OptimizerConfig

__all__ = ["adamw", "learning_rate"]


def learning_rate(config: OptimizerConfig) -> optax.Schedule:
    """A linear warm-up, then a cosine down to `final_fraction` of the peak.

    η(t) = η [φ + (1 - φ) (1 + cos(π t / T)) / 2],  φ = final_fraction
    """
    cosine = optax.cosine_decay_schedule(
        config.learning_rate,
        config.num_steps - config.warmup_steps,
        alpha=config.final_fraction,
    )
    if config.warmup_steps == 0:
        return cosine
    warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([warmup, cosine], [config.warmup_steps])


def adamw(config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW on gradients clipped by their global norm; only matrices decay."""
    optimizer = optax.adamw(
        learning_rate(config),
        b1=config.beta1,
        b2=config.beta2,
        weight_decay=config.weight_decay,
        mask=decays,
    )
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def decays(params: dict) -> dict:
    """True for kernels and embeddings; norms, biases and scales do not decay."""

    def is_matrix(path: tuple, _: jax.Array) -> bool:
        return path[-1].key in ("kernel", "embedding")

    return jax.tree_util.tree_map_with_path(is_matrix, params)
