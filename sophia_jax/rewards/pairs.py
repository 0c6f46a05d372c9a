"""From outcomes of reasonings to preferences: right ones against wrong ones."""

from __future__ import annotations

import numpy as np

from sophia_jax.rewards.propagate import passing_captions
from sophia_jax.types import Array, Bool, Int, typed

__all__ = ["select_pairs"]

Place = tuple[int, int]


@typed
def select_pairs(
    right: Bool[Array, "caption reasoning"],
    wrong: Bool[Array, "caption reasoning"],
    lengths: Int[Array, "caption reasoning"],
    *,
    threshold: float = 0.75,
    num_pairs: int = 1,
    seed: int = 0,
) -> list[tuple[Place, Place]]:
    """Pairs (chosen, rejected) of the reasonings of one question.

        chosen: R(y) = 1,  rejected: R(y) = 0,  both under captions with R(c) > α

    The chosen are the right ones from the shortest on, begun anew when there are no
    more; the rejected are drawn from the wrong ones, each once at most. So the first
    pair has the trajectory of `select_trajectory`. Runs on the host.

    Args:
      right: R(y) = 1.
      wrong: R(y) = 0, known to be; what is neither is in no pair.
      lengths: L_y, policy tokens, read only where right.
      threshold: α, in [0, 1], compared as in `select_trajectory`.
      num_pairs: the most of a question.
      seed: of the draw.

    Returns:
      Places (caption, reasoning) of each pair's two; none where no caption passes or
      nothing under these is wrong.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: num_pairs or threshold is out of its range, a reasoning is right and
        wrong, or the length of a right one is not positive.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (5), for the captions.
    """
    if num_pairs < 1:
        raise ValueError(f"num_pairs: expected >= 1, got {num_pairs}")
    right, wrong, lengths = map(np.asarray, (right, wrong, lengths))
    if np.any(right & wrong):
        raise ValueError("wrong: expected none that is right, got one that is both")
    if np.any(lengths[right] <= 0):
        shortest = lengths[right].min()
        raise ValueError(f"lengths: expected > 0 where right, got {shortest}")
    passes = passing_captions(right, threshold)[:, None]
    chosen = np.argwhere(right & passes)
    chosen = chosen[np.argsort(lengths[right & passes], kind="stable")]
    rejected = np.argwhere(wrong & passes)
    rejected = np.random.default_rng(seed).permutation(rejected)[:num_pairs]
    if not len(chosen):
        return []
    return [
        (_place(chosen[index % len(chosen)]), _place(each))
        for index, each in enumerate(rejected)
    ]


def _place(indices: np.ndarray) -> Place:
    caption, reasoning = indices.tolist()
    return caption, reasoning
