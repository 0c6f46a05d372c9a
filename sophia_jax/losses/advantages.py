"""How much better an answer is than the others to its question."""

from __future__ import annotations

import jax.numpy as jnp

from sophia_jax.losses.log_space import in_float32
from sophia_jax.types import Array, Float, typed

__all__ = ["group_advantages", "leave_one_out_advantages"]

SMALL = 1e-4  # beside the deviation of rewards


@typed
def group_advantages(
    rewards: Float[Array, "group sample"], *, normalize: bool = True
) -> Float[Array, "group sample"]:
    """Rewards relative to their group's mean, in its standard deviations.

        A_i = (r_i - mean r) / (std r + 1e-4),   std unbiased

    Args:
      rewards: of the samples of each question.
      normalize: divide by the deviation, as GRPO does. Without, as Dr. GRPO has it, no
        question is weighted up for being hard or easy.

    Returns:
      Advantages; exactly 0 where all rewards of a group are equal.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      Shao et al., 2024, "DeepSeekMath", https://arxiv.org/abs/2402.03300; without
      normalisation Liu et al., 2025, https://arxiv.org/abs/2503.20783.
    """
    (rewards,) = in_float32(rewards)
    centred = rewards - jnp.mean(rewards, axis=1, keepdims=True)
    num_samples = rewards.shape[1]
    if normalize:
        spread = jnp.sum(centred**2, axis=1, keepdims=True) / max(num_samples - 1, 1)
        centred = centred / (jnp.sqrt(spread) + SMALL)
    # A rounded mean is no reason to learn.
    differ = jnp.max(rewards, axis=1) > jnp.min(rewards, axis=1)
    return jnp.where(differ[:, None], centred, 0)


@typed
def leave_one_out_advantages(
    rewards: Float[Array, "group sample"],
) -> Float[Array, "group sample"]:
    """Rewards relative to the mean of the group's other samples.

        A_i = r_i - 1/(n - 1) Σ_{j≠i} r_j

    The baseline does not depend on the sample that it is taken from, so the gradient
    stays unbiased.

    Args:
      rewards: of the n >= 2 samples of each question.

    Returns:
      Advantages; exactly 0 where all rewards of a group are equal.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a group has one sample.

    Reference:
      Kool et al., 2019, "Buy 4 REINFORCE Samples, Get a Baseline for Free!"
    """
    num_samples = rewards.shape[1]
    if num_samples < 2:
        raise ValueError(f"rewards: expected >= 2 samples a group, got {num_samples}")
    centred = group_advantages(rewards, normalize=False)
    return centred * (num_samples / (num_samples - 1))
