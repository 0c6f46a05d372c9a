"""UCRL2: optimism about each row of a tabular MDP, in epochs that double."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Agent, Transition, Truth, agent_of
from sophia_jax.average_reward.counts import Counts, counted, new_epoch, no_counts
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.average_reward.planning import Plan, value_iteration
from sophia_jax.types import Array, Float

__all__ = ["optimistic_mean", "ucrl2"]


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["counts", "plan"], meta_fields=[]
)
@dataclass(frozen=True)
class PlannedState:
    """Counts, and the plan that was made of them."""

    counts: Counts
    plan: Plan


def optimistic_mean(
    frequencies: Float[Array, "*pair state"],
    width: Float[Array, "*pair"],
    values: Float[Array, " state"],
) -> Float[Array, "*pair"]:
    """max <p, V> over the distributions with ||p - p_hat||_1 <= width.

    Half of the width goes to the best state, and is taken from the worst ones.
    """
    order = jnp.argsort(-values)
    sorted_ = frequencies[..., order]
    best = jnp.minimum(1, sorted_[..., :1] + width[..., None] / 2)
    rest = sorted_[..., 1:]
    left = 1 - best - (jnp.cumsum(rest, -1) - rest)
    rest = jnp.clip(left, 0, rest)
    return jnp.concatenate([best, rest], -1) @ values[order]


def ucrl2(*, delta: float = 0.05, scale: float = 1.0, name: str = "UCRL2") -> Agent:
    """UCRL2, with the constants of its paper [recalled].

        ||P - P_hat||_1 <= sqrt(14 S log(2 A t / delta) / n)
        |r - r_hat| <= sqrt(7 log(2 S A t / delta) / (2 n))

    An epoch ends when a pair has doubled its visits; extended value iteration is run to
    1 / sqrt(t).

    Args:
      delta: chance of failure, in (0, 1).
      scale: of both squared widths; 1 for the theory.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range.

    Reference:
      Jaksch, Ortner, Auer, 2010, https://jmlr.org/papers/v11/jaksch10a.html.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta: expected in (0, 1), got {delta}")
    if not scale > 0:
        raise ValueError(f"scale: expected > 0, got {scale}")
    return agent_of(name, _Learner(delta, scale))


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of the agent."""

    delta: float
    scale: float

    def init(self, key: Array, spec: Spec) -> PlannedState:
        values, pairs = jnp.zeros(spec.num_states), no_counts(spec).paid
        nothing = (values, values.astype(jnp.int32), values[0], jnp.int32(0))
        return self.plan(PlannedState(no_counts(spec), Plan(pairs, *nothing)))

    def act(self, key: Array, state: PlannedState, observation: Array) -> Array:
        return state.plan.policy[observation]

    def observe(
        self, state: PlannedState, seen: Transition
    ) -> tuple[PlannedState, Array]:
        counts, doubled = counted(state.counts, seen)
        return PlannedState(counts, state.plan), doubled

    def plan(self, state: PlannedState) -> PlannedState:
        counts = state.counts
        of_rows, of_rewards = self._widths(counts)
        reward = jnp.minimum(1, counts.mean_reward + of_rewards)
        frequencies = counts.frequencies

        def backup(values: Array) -> Array:
            return reward + optimistic_mean(frequencies, of_rows, values)

        accuracy = 1 / jnp.sqrt(jnp.maximum(counts.visits.sum(), 1))
        plan = value_iteration(backup, state.plan.values, tolerance=accuracy)
        return PlannedState(new_epoch(counts), plan)

    def describe(self, state: PlannedState) -> dict[str, Array]:
        return {
            "optimistic_gain": state.plan.gain,
            "num_iterations": state.plan.num_iterations,
        }

    def covers(self, state: PlannedState, truth: Truth) -> Array:
        of_rows, of_rewards = self._widths(state.counts)
        rows = jnp.abs(state.counts.frequencies - truth.transition).sum(-1)
        rewards = jnp.abs(state.counts.mean_reward - truth.reward)
        return (rows <= of_rows).all() & (rewards <= of_rewards).all()

    def _widths(self, counts: Counts) -> tuple[Array, Array]:
        states, actions = counts.paid.shape
        visits = jnp.maximum(counts.visits, 1)
        now = jnp.maximum(counts.visits.sum(), 1)
        of_rows = 14 * states * jnp.log(2 * actions * now / self.delta) / visits
        of_rewards = 7 * jnp.log(2 * states * actions * now / self.delta) / (2 * visits)
        return jnp.sqrt(self.scale * of_rows), jnp.sqrt(self.scale * of_rewards)
