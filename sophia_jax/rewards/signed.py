"""Rewards that also push: the trajectory that is kept, and wrong ones beside it."""

from __future__ import annotations

import numpy as np

from sophia_jax.rewards.propagate import select_trajectory
from sophia_jax.types import Array, Bool, Float, Int, typed

__all__ = ["signed_rewards"]


@typed
def signed_rewards(
    outcomes: Bool[Array, "caption reasoning"]
    | Int[Array, "caption reasoning"]
    | Float[Array, "caption reasoning"],
    lengths: Int[Array, "caption reasoning"],
    rng: np.random.Generator,
    *,
    threshold: float = 0.75,
    num_negatives: int = 1,
    weight: float = 0.5,
) -> Float[Array, "caption reasoning"]:
    """1 for the trajectory of `select_trajectory`, and less than 0 for wrong ones.

        R = 1 for the kept one,   -w / m for each of m wrong ones, drawn at random

    The best one shows what to do, wrong ones what not to; drawn at random they are as
    the mistakes are, not as the worst of them. A negative reward wants importance
    weights that vanish with the likelihood (`losses.weighted_sophia_loss`). Where
    nothing is kept there is nothing to learn, and where nothing is wrong no negative.
    Runs on the host.

    Args:
      outcomes: R(y) of each reasoning, 0 (wrong, or cut off) or 1 (right).
      lengths: L_y, policy tokens of each reasoning, its end token included; read only
        where the outcome is right.
      rng: of the draw.
      threshold: α, in [0, 1]; negatives come from any caption.
      num_negatives: m >= 0; fewer where fewer are wrong.
      weight: w >= 0, of the negatives together.

    Returns:
      Reward of each reasoning; most are 0.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: an option is out of range, or as of `select_trajectory`.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (6), for the kept one; the
      negatives are ours, after Ahmadian et al., 2024, "Back to Basics", where wrong
      answers have negative advantages.
    """
    for name, value in (("num_negatives", num_negatives), ("weight", weight)):
        if not value >= 0:
            raise ValueError(f"{name}: expected >= 0, got {value}")
    rewards = np.zeros(outcomes.shape, np.float32)
    kept = select_trajectory(outcomes, lengths, threshold=threshold)
    if kept is None:
        return rewards
    rewards[kept] = 1
    wrong = np.argwhere(np.asarray(outcomes) == 0)
    drawn = rng.permutation(len(wrong))[:num_negatives]
    for caption, reasoning in wrong[drawn]:
        rewards[caption, reasoning] = -weight / len(drawn)
    return rewards
