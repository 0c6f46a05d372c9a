"""From outcomes of reasonings to rewards of captions, and to the trajectory to keep."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.types import Array, Bool, Float, Int, typed

__all__ = ["passing_captions", "propagate_rewards", "select_trajectory"]

# Rounding of threshold * num_reasonings must not let an exact tie pass as "more than".
COUNT_SLACK = 1e-9


@typed
def propagate_rewards(
    outcomes: Bool[Array, "caption reasoning"]
    | Int[Array, "caption reasoning"]
    | Float[Array, "caption reasoning"],
) -> Float[Array, " caption"]:
    """Reward of each caption: the mean outcome of the reasonings conditioned on it.

        R(c) = 1/N Σ_j R(y⁽ʲ⁾)

    A plain mean: no discount, no critic.

    Args:
      outcomes: R(y⁽ʲ⁾) of each reasoning, 0 (wrong, or cut off) or 1 (right). A traced
        value other than these makes its caption's reward nan.

    Returns:
      Reward of each caption, in [0, 1], in float32 or better.

    Raises:
      TypeError: shape or dtype differs from the signature.
      ValueError: there is no reasoning, or a concrete outcome is neither 0 nor 1.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (5).
    """
    if outcomes.shape[1] == 0:
        raise ValueError("outcomes: expected at least 1 reasoning per caption, got 0")
    if not isinstance(outcomes, jax.core.Tracer):
        _check_outcomes(np.asarray(outcomes))
    binary = (outcomes == 0) | (outcomes == 1)
    rewards = jnp.asarray(outcomes, jnp.promote_types(outcomes.dtype, jnp.float32))
    return jnp.mean(jnp.where(binary, rewards, jnp.nan), axis=1)


@typed
def select_trajectory(
    outcomes: Bool[Array, "caption reasoning"]
    | Int[Array, "caption reasoning"]
    | Float[Array, "caption reasoning"],
    lengths: Int[Array, "caption reasoning"],
    *,
    threshold: float = 0.75,
) -> tuple[int, int] | None:
    """The one trajectory of a question that is kept: its reward is 1, the others' 0.

        R(x, v, y) = 1  iff  R(c) > α,  R(y) = 1,  y = argmin L_y among those

    The comparison is strict and made on counts, Σ_j R(y⁽ʲ⁾) > α N: with α = 0.75 and
    N = 8 a caption needs 7 right reasonings. Runs on the host.

    Args:
      outcomes: R(y) of each reasoning, 0 (wrong, or cut off) or 1 (right).
      lengths: L_y, policy tokens of each reasoning, its end token included; read only
        where the outcome is right.
      threshold: α, in [0, 1].

    Returns:
      Indices (caption, reasoning) of the shortest right reasoning under the captions
      that pass, the first in row-major order on a tie; None where there is none.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: threshold is outside [0, 1], an outcome is neither 0 nor 1, or the
        length of a right reasoning is not positive.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (6).
    """
    right = _check_outcomes(np.asarray(outcomes))
    lengths = np.asarray(lengths)
    if np.any(lengths[right] <= 0):
        shortest = lengths[right].min()
        raise ValueError(
            f"lengths: expected > 0 where the outcome is right, got {shortest}"
        )
    kept = qualifying_trajectories(right, threshold)
    if not kept.any():
        return None
    caption, reasoning = np.argwhere(kept)[np.argmin(lengths[kept])]
    return int(caption), int(reasoning)


@typed
def qualifying_trajectories(
    right: Bool[np.ndarray, "caption reasoning"], threshold: float
) -> Bool[np.ndarray, "caption reasoning"]:
    """Right reasonings under captions that pass: R(y) = 1 and R(c) > α.

    With α = 0 every right reasoning is one, since it is its caption's own reward: there
    is no caption reward then.

    Args:
      right: R(y) = 1, of each reasoning of a question.
      threshold: α, in [0, 1].

    Raises:
      ValueError: threshold is outside [0, 1].

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (5) and (6).
    """
    return right & passing_captions(right, threshold)[:, None]


def passing_captions(right: np.ndarray, threshold: float) -> np.ndarray:
    """Bool[caption]: R(c) > α, on the counts of right reasonings.

    Args:
      right: Bool[caption reasoning].
      threshold: α, in [0, 1].

    Raises:
      ValueError: threshold is outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected in [0, 1], got {threshold}")
    return right.sum(axis=1) > threshold * right.shape[1] + COUNT_SLACK


def _check_outcomes(outcomes: np.ndarray) -> np.ndarray:
    """The outcomes as Bool, once every one of them is known to be 0 or 1."""
    right = outcomes == 1
    strange = outcomes[~right & (outcomes != 0)]
    if strange.size:
        raise ValueError(f"outcomes: expected 0 or 1, got {strange[0]}")
    return right
