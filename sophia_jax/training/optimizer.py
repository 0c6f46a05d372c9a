"""AdamW with the paper's schedule, Adafactor, and Muon for models from nothing."""

from __future__ import annotations

import functools

import jax
import optax

from sophia_jax.config import OptimizerConfig
from sophia_jax.training.master import with_master
from sophia_jax.training.small_state import scale_by_small_adam

__all__ = ["adafactor", "adamw", "learning_rate", "make_optimizer", "muon"]

ADAMW_RMS = 0.2  # the root mean square of AdamW's updates, in learning rates


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
    """AdamW on gradients clipped by their global norm; only matrices decay.

    Its moments are float32, or in eight bits as of `scale_by_small_adam`.
    """
    if config.state == "int8":
        direction = scale_by_small_adam(beta1=config.beta1, beta2=config.beta2)
    else:
        direction = optax.scale_by_adam(b1=config.beta1, b2=config.beta2)
    return _clipped(config, _decoupled(config, direction))


def adafactor(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adafactor without momentum, with the clipping, decay and rates of AdamW.

        V ≈ R C / mean R,   W <- W - η (0.2 clip(G / √V) + λ W)

    with R and C the means of G² over the columns and rows of a matrix: they are all of
    the state. The clip keeps the root mean square below 1 over all layers of a matrix
    together, as they are stacked; the factor gives the update the size of AdamW's, so
    that both take the same learning rates. Only the direction is Adafactor's: rates
    are absolute, since relative ones would need another scale, and a decay that knows
    no rate, which is optax's, would take λ of each weight away in every update.

    Args:
      config: of `num_steps`, the schedule, λ and the norm; betas are not used.

    Reference:
      Shazeer and Stern, 2018, https://arxiv.org/abs/1804.04235, algorithms 4 and 5.
    """
    direction = optax.chain(
        optax.scale_by_factored_rms(),
        optax.clip_by_block_rms(1.0),
        optax.scale(ADAMW_RMS),
    )
    return _clipped(config, _decoupled(config, direction))


def _decoupled(
    config: OptimizerConfig, direction: optax.GradientTransformation
) -> optax.GradientTransformation:
    """W <- W - η (direction + λ W), the decay of matrices alone."""
    return optax.chain(
        direction,
        optax.add_decayed_weights(config.weight_decay, decays),
        optax.scale_by_learning_rate(learning_rate(config)),
    )


def _clipped(
    config: OptimizerConfig, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
    if config.clip_norm is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


@functools.cache
def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimizer that the configuration names, on master copies if it says so.

    Equal configurations give one object, and so one program for all who train with it.
    """
    algorithms = {"adamw": adamw, "muon": muon, "adafactor": adafactor}
    optimizer = algorithms[config.algorithm](config)
    return with_master(optimizer) if config.master else optimizer


def muon(config: OptimizerConfig) -> optax.GradientTransformation:
    """Muon on the kernels of the layers, at AdamW's scale; AdamW on all else.

        M <- μ M + G,   W <- W - η (0.2 sqrt(max(n, m)) O + λ W),   O ≈ U V'

    with U S V' = G + μ M, S set to ones by five Newton-Schulz steps. The factor gives
    the update the size of AdamW's, so that both take the same learning rates. What
    AdamW moves (embeddings, head, norms, biases; with Nesterov momentum) does not
    decay, and nothing is clipped.

    Args:
      config: of `num_steps`, the schedule, λ, and AdamW's betas.

    Reference:
      Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; the factor is that
      of Liu et al., 2025, https://arxiv.org/abs/2502.16982, eq. (4).
    """
    rate = learning_rate(config)
    return optax.contrib.muon(
        rate,
        weight_decay=config.weight_decay,
        adam_learning_rate=rate,
        adam_b1=config.beta1,
        adam_b2=config.beta2,
        muon_weight_dimension_numbers=layer_kernels,
        consistent_rms=ADAMW_RMS,
    )


def layer_kernels(params: dict) -> dict:
    """The matrices among the parameters: kernels [layer in out]; None for the rest."""

    def matrix(path: tuple, _: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        if path[-1].key == "kernel" and any(key.key == "layers" for key in path):
            return optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
        return None

    return jax.tree_util.tree_map_with_path(matrix, params)


def decays(params: dict) -> dict:
    """True for kernels, embeddings and adapters; not for norms, biases and scales."""

    def is_matrix(path: tuple, _: jax.Array) -> bool:
        return path[-1].key in ("kernel", "embedding", "a", "b")

    return jax.tree_util.tree_map_with_path(is_matrix, params)
