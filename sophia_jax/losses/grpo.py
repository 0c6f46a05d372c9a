"""GRPO: a clipped policy gradient on groups of answers, and its reductions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sophia_jax.losses.log_space import bounded_exp, in_float32
from sophia_jax.types import Array, Bool, Float, Scalar, typed

__all__ = [
    "constant_length_mean",
    "grpo_loss",
    "grpo_token_loss",
    "sequence_mean",
    "token_mean",
]


@typed
def grpo_token_loss(
    policy_log_probs: Float[Array, "batch token"],
    behavior_log_probs: Float[Array, "batch token"],
    advantages: Float[Array, " batch"] | Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    clip_low: Scalar = 0.2,
    clip_high: Scalar = 0.2,
    reference_log_probs: Float[Array, "batch token"] | None = None,
    kl_coefficient: Scalar = 0.0,
) -> Float[Array, "batch token"]:
    """The clipped surrogate of each token, and its distance from a reference.

        L_l = -min(r A, clip(r, 1 - ε_low, 1 + ε_high) A) + β (e^d - d - 1)
        r = π_θ / μ,   d = log π_ref - log π_θ

    Behaviour log-probabilities are those of the distribution that was sampled from:
    temperature and top-p change it, and a ratio to anything else is biased. A ratio
    that no float holds goes on as of `bounded_exp`.

    Args:
      policy_log_probs: log π_θ of each token, in nats.
      behavior_log_probs: log μ, when the token was sampled; a constant.
      advantages: A, of each sequence, or of each token; a constant.
      mask: True at the tokens of the answer. What lies under False is never read.
      clip_low: ε_low >= 0; a ratio below 1 - ε_low earns no more from falling.
      clip_high: ε_high >= 0; larger than ε_low in DAPO, to leave room to explore.
      reference_log_probs: log π_ref; a constant. Required with a KL term.
      kl_coefficient: β >= 0, of the estimate of KL(π_θ || π_ref).

    Returns:
      Loss of each token; 0 where the mask is False.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a KL term without a reference, or a concrete option is negative.

    Reference:
      Shao et al., 2024, "DeepSeekMath", https://arxiv.org/abs/2402.03300; the two
      clips from Yu et al., 2025, "DAPO", https://arxiv.org/abs/2503.14476.
    """
    options = {
        "clip_low": clip_low,
        "clip_high": clip_high,
        "kl_coefficient": kl_coefficient,
    }
    for name, value in options.items():
        if not isinstance(value, jax.core.Tracer) and not value >= 0:
            raise ValueError(f"{name}: expected >= 0, got {value}")
    without_kl = not isinstance(kl_coefficient, jax.core.Tracer) and kl_coefficient == 0
    if reference_log_probs is None and not without_kl:
        raise ValueError(
            "reference_log_probs: expected some for a KL term, got none; "
            "kl_coefficient=0 is without one"
        )
    policy, behavior = in_float32(policy_log_probs, behavior_log_probs)
    policy = jnp.where(mask, policy, 0)
    behavior = jnp.where(mask, jax.lax.stop_gradient(behavior), 0)
    advantage = jax.lax.stop_gradient(advantages.astype(policy.dtype))
    if advantage.ndim == 1:
        advantage = advantage[:, None]
    advantage = jnp.where(mask, advantage, 0)
    ratio = bounded_exp(policy - behavior)
    clipped = jnp.clip(ratio, 1 - clip_low, 1 + clip_high)
    loss = -jnp.minimum(ratio * advantage, clipped * advantage)
    if not without_kl:
        loss = loss + kl_coefficient * _kl(policy, reference_log_probs, mask)
    return jnp.where(mask, loss, 0)


def _kl(policy: Array, reference: Array, mask: Array) -> Array:
    """e^d - d - 1 >= 0, whose mean over π_θ's samples is KL(π_θ || π_ref)."""
    reference = jax.lax.stop_gradient(reference.astype(policy.dtype))
    behind = jnp.where(mask, reference, 0) - policy
    small = jnp.abs(behind) < 1
    gentle = jnp.expm1(jnp.where(small, behind, 0))
    return jnp.where(small, gentle, bounded_exp(behind) - 1) - behind


@typed
def grpo_loss(
    policy_log_probs: Float[Array, "batch token"],
    behavior_log_probs: Float[Array, "batch token"],
    advantages: Float[Array, " batch"] | Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    clip_low: Scalar = 0.2,
    clip_high: Scalar = 0.2,
    reference_log_probs: Float[Array, "batch token"] | None = None,
    kl_coefficient: Scalar = 0.0,
) -> Float[Array, " batch"]:
    """`grpo_token_loss`, averaged over the tokens of each sequence.

        L = 1/|y| Σ_l L_l

    Args, raises and reference: as of `grpo_token_loss`.

    Returns:
      Loss per sequence; 0 where the mask is empty. The caller averages.
    """
    token_loss = grpo_token_loss(
        policy_log_probs,
        behavior_log_probs,
        advantages,
        mask,
        clip_low=clip_low,
        clip_high=clip_high,
        reference_log_probs=reference_log_probs,
        kl_coefficient=kl_coefficient,
    )
    return sequence_mean(token_loss, mask)


@typed
def sequence_mean(
    token_loss: Float[Array, "batch token"], mask: Bool[Array, "batch token"]
) -> Float[Array, " batch"]:
    """The mean over a sequence's own tokens, as in GRPO.

        L = 1/|y| Σ_l L_l

    A token of a long answer counts less than one of a short answer.

    Args:
      token_loss: of each token.
      mask: True at the tokens of the answer.

    Returns:
      Loss per sequence; 0 where the mask is empty. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      Shao et al., 2024, "DeepSeekMath", https://arxiv.org/abs/2402.03300.
    """
    return _total(token_loss, mask) / jnp.maximum(jnp.sum(mask, axis=1), 1)


@typed
def token_mean(
    token_loss: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    mean_length: Scalar | None = None,
) -> Float[Array, " batch"]:
    """Values whose mean is that over all tokens of the batch, as in DAPO.

        L = Σ_l L_l / (mean of |y| over the batch)

    Args:
      token_loss: of each token.
      mask: True at the tokens of the answer; sequences without any only fill the batch.
      mean_length: tokens a sequence, where the batch is a part of a larger one; None to
        take it from the mask.

    Returns:
      Loss per sequence; 0 where the mask is empty. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      Yu et al., 2025, "DAPO", https://arxiv.org/abs/2503.14476.
    """
    if mean_length is None:
        sequences = jnp.sum(jnp.any(mask, axis=1))
        mean_length = jnp.sum(mask) / jnp.maximum(sequences, 1)
    return _total(token_loss, mask) / jnp.maximum(mean_length, 1)


@typed
def constant_length_mean(
    token_loss: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    length: Scalar,
) -> Float[Array, " batch"]:
    """The sum over tokens by a constant, as in Dr. GRPO: no answer gains by its length.

        L = 1/length Σ_l L_l

    Args:
      token_loss: of each token.
      mask: True at the tokens of the answer.
      length: > 0, in tokens: the most that an answer may have.

    Returns:
      Loss per sequence; 0 where the mask is empty. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete length is not positive.

    Reference:
      Liu et al., 2025, "Understanding R1-Zero-Like Training: A Critical Perspective",
      https://arxiv.org/abs/2503.20783.
    """
    if not isinstance(length, jax.core.Tracer) and not length > 0:
        raise ValueError(f"length: expected > 0 tokens, got {length}")
    return _total(token_loss, mask) / length


def _total(token_loss: Array, mask: Array) -> Array:
    (token_loss,) = in_float32(token_loss)
    return jnp.sum(jnp.where(mask, token_loss, 0), axis=1)
