"""What was seen in an MDP of few states: counts, sums, and when they have doubled."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Transition
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Bool, Float

__all__ = ["Counts", "counted", "new_epoch", "no_counts"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["followed", "paid", "before"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Counts:
    """Exact in float32 up to 2^24 visits of a pair.

    Attributes:
      followed: how often s' followed (s, a), Float[state action state].
      paid: the sum of rewards there, Float[state action].
      before: visits of each pair before this epoch, Float[state action].
    """

    followed: Float[Array, "state action state"]
    paid: Float[Array, "state action"]
    before: Float[Array, "state action"]

    @property
    def visits(self) -> Float[Array, "state action"]:
        return self.followed.sum(-1)

    @property
    def frequencies(self) -> Float[Array, "state action state"]:
        """Shares of what followed; uniform where nothing was seen."""
        visits, states = self.visits[..., None], self.followed.shape[-1]
        shares = self.followed / jnp.maximum(visits, 1)
        return jnp.where(visits > 0, shares, 1 / states)

    @property
    def mean_reward(self) -> Float[Array, "state action"]:
        """Means; 0 where nothing was seen."""
        return self.paid / jnp.maximum(self.visits, 1)


def no_counts(spec: Spec) -> Counts:
    """Nothing was seen yet."""
    pairs = jnp.zeros((spec.num_states, spec.num_actions))
    followed = jnp.zeros((*pairs.shape, spec.num_states))
    return Counts(followed, pairs, pairs)


def counted(counts: Counts, seen: Transition) -> tuple[Counts, Bool[Array, ""]]:
    """One more step, and whether its pair has doubled its visits in this epoch."""
    pair = (seen.state, seen.action)
    followed = counts.followed.at[(*pair, seen.next_state)].add(1)
    paid = counts.paid.at[pair].add(seen.reward)
    before = counts.before[pair]
    fresh = followed[pair].sum() - before
    return Counts(followed, paid, counts.before), fresh >= jnp.maximum(1, before)


def new_epoch(counts: Counts) -> Counts:
    """The same, from where doubling is counted anew."""
    return Counts(counts.followed, counts.paid, counts.visits)
