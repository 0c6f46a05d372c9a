"""The ends of the scale: agents that know everything, or learn nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Agent
from sophia_jax.average_reward.mdp import AverageRewardMDP
from sophia_jax.average_reward.solvers import solve
from sophia_jax.types import Array, Int

__all__ = ["fixed_policy", "optimal_policy", "uniform_policy"]


def fixed_policy(policy: Int[Array, " state"], *, name: str = "fixed") -> Agent:
    """One action per state, whatever happens."""
    actions = jnp.asarray(policy, jnp.int32)
    return Agent(
        name,
        init=lambda key, spec: actions,
        act=lambda key, state, observation: state[observation],
        observe=lambda state, transition: (state, jnp.bool_(False)),
    )


def optimal_policy(mdp: AverageRewardMDP) -> Agent:
    """What is best, by one that was told: its regret is noise about a constant."""
    return fixed_policy(solve(mdp).policy, name="optimal")


def uniform_policy() -> Agent:
    """Every action with the same chance: what not learning costs."""
    return Agent(
        "uniform",
        init=lambda key, spec: jnp.int32(spec.num_actions),
        act=lambda key, state, observation: jax.random.randint(key, (), 0, state),
        observe=lambda state, transition: (state, jnp.bool_(False)),
    )
