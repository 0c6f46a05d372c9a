"""What an agent is: pure functions of a state that the runner composes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Bool, Float, Int

__all__ = ["Agent", "Transition", "Truth", "agent_of", "as_agent"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["state", "action", "reward", "next_state"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Transition:
    """One step: what was seen, done, paid, and seen then."""

    state: Int[Array, ""]
    action: Int[Array, ""]
    reward: Float[Array, ""]
    next_state: Int[Array, ""]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["transition", "reward", "gain", "bias"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Truth:
    """The MDP that an agent acts in, for measures that it does not see.

    Attributes:
      transition: Float[state action state].
      reward: Float[state action].
      gain: J*.
      bias: h(s), Float[state].
    """

    transition: Float[Array, "state action state"]
    reward: Float[Array, "state action"]
    gain: Float[Array, ""]
    bias: Float[Array, " state"]


@dataclass(frozen=True, eq=False)
class Agent:
    """An agent in two halves: what it does at every step, and its planning.

    `act` and `observe` are cheap and run at every step. `plan` runs when `observe` says
    that it is due; in between, the policy stays. States are pytrees of arrays; all
    functions are pure and may be traced.

    Attributes:
      name: of the agent in tables.
      init: (key, spec) -> state, with its first policy.
      act: (key, state, observation) -> action.
      observe: (state, transition) -> (state, whether planning is due).
      plan: state -> state with a new policy.
      describe: state -> scalars that tell of the policy in force, by name. "empty" is
        kept for whether a confidence set had nothing in it, "optimistic_gain" for the
        gain that the agent believes in.
      covers: (state, truth) -> whether the agent's confidence set, as it was when it
        planned, holds the truth; None where there is no such set.
      span_bound: sp(V*), as an agent was told it whose "optimistic_gain" is at least
        the best gain wherever that, and its confidence sets, are right; or None.
    """

    name: str
    init: Callable[[Array, Spec], Any]
    act: Callable[[Array, Any, Array], Array]
    observe: Callable[[Any, Transition], tuple[Any, Bool[Array, ""]]]
    plan: Callable[[Any], Any] = lambda state: state
    describe: Callable[[Any], dict[str, Array]] = lambda state: {}
    covers: Callable[[Any, Truth], Bool[Array, ""]] | None = None
    span_bound: float | None = None

    def update(self, state: Any, transition: Transition) -> tuple[Any, dict]:
        """Learn from one step, and plan where that is due.

        Returns:
          The new state, and `describe` of it with "switched": whether it has planned.
        """
        state, due = self.observe(state, transition)
        state = jax.lax.cond(due, self.plan, lambda kept: kept, state)
        return state, {**self.describe(state), "switched": due}


def agent_of(name: str, learner: Any, *, span_bound: float | None = None) -> Agent:
    """The agent whose functions are an object's methods of the same names."""
    names = ("init", "act", "observe", "plan", "describe", "covers")
    present = {key: getattr(learner, key) for key in names if hasattr(learner, key)}
    return Agent(name, **present, span_bound=span_bound)


def as_agent(agent: Any) -> Agent:
    """Any object with `init`, `act` and `update`, as the runner takes it.

    Its planning, if it has any, is within `update` and so runs at every step; a new
    policy is counted where the info of `update` has "switched".
    """
    if isinstance(agent, Agent):
        return agent

    def observe(state: Any, transition: Transition) -> tuple[Any, Array]:
        state, info = agent.update(state, transition)
        return state, jnp.asarray(info.get("switched", False))

    name = getattr(agent, "name", type(agent).__name__)
    return Agent(name, agent.init, agent.act, observe)
