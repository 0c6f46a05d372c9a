"""Which captions can still hold the trajectory that is kept, while reasonings run."""

from __future__ import annotations

import numpy as np

from sophia_jax.rewards.propagate import COUNT_SLACK, propagate_rewards
from sophia_jax.types import Array, Bool, Float, Int, typed

__all__ = ["NEVER", "can_be_kept", "reward_bounds", "stop_points"]

NEVER = int(np.iinfo(np.int32).max)  # tokens that no reasoning reaches


@typed
def can_be_kept(
    right: Bool[Array, "caption reasoning"],
    wrong: Bool[Array, "caption reasoning"],
    lengths: Int[Array, "caption reasoning"],
    *,
    threshold: float = 0.75,
) -> Bool[np.ndarray, " caption"]:
    """Whether a caption's unfinished reasonings can still matter to the selection.

    The one kept is the shortest right reasoning under a caption with R(c) > α, so

        (i)  a caption with N - αN or more wrong reasonings never passes;
        (ii) once some caption has passed, its shortest right reasoning is a bound B:
             a caption none of whose right or unfinished reasonings can be shorter than
             B holds nothing that could take B's place.

    Both stay true whatever the unfinished reasonings bring: wrong ones are never taken
    back, a length only grows, and B only falls. Leaving such a caption unfinished, and
    counting it as one that does not pass, therefore selects the same trajectory. The
    caption that holds B goes on, so that its reward is exact. Runs on the host.

    Args:
      right: reasonings that are finished and right.
      wrong: those that are finished and wrong, or were cut off.
      lengths: tokens so far, as they count in the selection; of a reasoning that is
        finished, its length with the end token.
      threshold: α, in [0, 1].

    Returns:
      False for captions that may be left as they are.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: threshold is outside [0, 1], or a reasoning is both right and wrong.

    Reference:
      The selection is eq. (6) of SOPHIA, 2025, https://arxiv.org/abs/2507.16814.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold: expected in [0, 1], got {threshold}")
    right, wrong, lengths = map(np.asarray, (right, wrong, lengths))
    if np.any(right & wrong):
        raise ValueError("right, wrong: expected each reasoning to be one at most")
    return _can_be_kept(right, wrong, lengths, threshold)


@typed
def stop_points(
    right: Bool[Array, "caption reasoning"],
    wrong: Bool[Array, "caption reasoning"],
    lengths: Int[Array, "caption reasoning"] | None,
    *,
    threshold: float = 0.75,
) -> Int[np.ndarray, " caption"]:
    """How long a caption's unfinished reasonings can grow before nothing of it matters.

    `can_be_kept` is asked twice: with unfinished reasonings that have no token yet, and
    with such as are as long as the shortest right reasoning B under a caption that has
    passed. Who is given these numbers need not ask again at every token.

    Args:
      right, wrong: as in `can_be_kept`.
      lengths: of the reasonings that are right; None where lengths so far say nothing
        about lengths in the selection, so that rule (i) alone holds.
      threshold: α, in [0, 1].

    Returns:
      For each caption the tokens at which it may be stopped, once all its unfinished
      reasonings have as many: 0 for at once, `NEVER` for a caption that is to be
      finished.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: as of `can_be_kept`.
    """
    right, wrong = np.asarray(right), np.asarray(wrong)
    if lengths is None:
        nothing = np.zeros(right.shape, np.int64)
        kept = _can_be_kept(np.zeros_like(right), wrong, nothing, threshold)
        return np.where(kept, NEVER, 0)
    finished = np.where(right, np.asarray(lengths), 0)
    now = _can_be_kept(right, wrong, finished, threshold)
    passed = right.sum(axis=1) > threshold * right.shape[1] + COUNT_SLACK
    if not passed.any():
        return np.where(now, NEVER, 0)
    bound = int(finished[right & passed[:, None]].min())
    grown = np.where(right, finished, bound)
    later = _can_be_kept(right, wrong, grown, threshold)
    return np.where(now, np.where(later, NEVER, bound), 0)


@typed
def reward_bounds(
    right: Bool[Array, "caption reasoning"], wrong: Bool[Array, "caption reasoning"]
) -> Float[np.ndarray, "caption 2"]:
    """The least and the most that a caption's reward can be, with some unfinished.

        Σ right / N <= R(c) <= 1 - Σ wrong / N

    Args:
      right: reasonings that are finished and right.
      wrong: those that are finished and wrong, or were cut off.

    Returns:
      Both bounds, equal where all reasonings are finished.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
    """
    bounds = propagate_rewards(right), propagate_rewards(~np.asarray(wrong))
    return np.stack(bounds, axis=1)


def _can_be_kept(
    right: np.ndarray, wrong: np.ndarray, lengths: np.ndarray, threshold: float
) -> np.ndarray:
    """`can_be_kept` without its checks, which cost more than it does."""
    num_reasonings = right.shape[1]
    needed = threshold * num_reasonings + COUNT_SLACK
    alive = num_reasonings - wrong.sum(axis=1) > needed
    passed = right.sum(axis=1) > needed
    if not passed.any():
        return alive
    # An unfinished reasoning has one token more at least. Of equals the first is kept.
    least = np.where(right, lengths, lengths + 1)
    place = np.arange(right.size).reshape(right.shape)
    candidates = np.flatnonzero((right & passed[:, None]).ravel())
    best = min(candidates, key=lambda index: (least.ravel()[index], index))
    bound = least.ravel()[best]
    shorter = (least < bound) | ((least == bound) & (place <= best))
    return alive & np.any(shorter & ~wrong, axis=1)
