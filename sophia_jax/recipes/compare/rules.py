"""Which right reasonings of a question are learnt from: rules on the table of outcomes.

A rule sees one question. It gives indices (caption, reasoning), none where it keeps
nothing; what is at random comes from the generator that it is handed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from sophia_jax.rewards import qualifying_trajectories

__all__ = ["Rule", "at_random", "of_first", "shortest"]

Picks = list[tuple[int, int]]
Rule = Callable[[np.random.Generator, np.ndarray, np.ndarray], Picks]
"""(generator, right[caption reasoning], lengths[caption reasoning]) -> what is kept."""


@functools.cache
def shortest(threshold: float, *, most: int = 1) -> Rule:
    """The rule of eq. (6), and with `most` above 1 the paper's Keep-N.

    Args:
      threshold: α; 0 leaves the captions' reward out.
      most: how many are kept, the shortest first; on a tie the first in row-major
        order.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (6) and table A4.
    """

    def rule(rng: np.random.Generator, right: np.ndarray, lengths: np.ndarray) -> Picks:
        kept = qualifying_trajectories(right, threshold)
        order = np.argsort(lengths[kept], kind="stable")[:most]
        return _pairs(np.argwhere(kept)[order])

    return rule


@functools.cache
def at_random(threshold: float) -> Rule:
    """One that qualifies, each with the same chance, however long it is.

    Args:
      threshold: α; 0 leaves the captions' reward out.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, table 5.
    """

    def rule(rng: np.random.Generator, right: np.ndarray, lengths: np.ndarray) -> Picks:
        kept = np.argwhere(qualifying_trajectories(right, threshold))
        return _pairs(kept[rng.integers(len(kept), size=1)]) if len(kept) else []

    return rule


def of_first(rule: Rule, *, captions: int, reasonings: int) -> Rule:
    """A rule, had there been fewer captions, and fewer reasonings of each.

    Args:
      rule: that is asked.
      captions, reasonings: K and N, the first so many of those that there are.
    """

    def fewer(
        rng: np.random.Generator, right: np.ndarray, lengths: np.ndarray
    ) -> Picks:
        part = np.s_[:captions, :reasonings]
        return rule(rng, right[part], lengths[part])

    return fewer


def _pairs(indices: np.ndarray) -> Picks:
    return [(int(caption), int(reasoning)) for caption, reasoning in indices]
