"""Optimistic Q-learning: no model, a discount that stands in for the average."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Agent, Transition, agent_of
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Float

__all__ = ["optimistic_q_learning"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["values", "bounds", "visits"],
    meta_fields=[],
)
@dataclass(frozen=True)
class TableState:
    """Attributes:
    values: Q(s, a), Float[state action].
    bounds: the least that Q was, which is what is acted on, Float[state action].
    visits: Float[state action].
    """

    values: Float[Array, "state action"]
    bounds: Float[Array, "state action"]
    visits: Float[Array, "state action"]


def optimistic_q_learning(
    num_steps: int,
    *,
    span_bound: float,
    horizon: float | None = None,
    bonus_scale: float = 1.0,
    delta: float = 0.05,
    name: str = "Q-learning",
) -> Agent:
    """Q-learning with bonuses, discounted by 1 - 1 / H [recalled].

        Q <- (1 - a) Q + a (r + (1 - 1/H) V(s') + b),   a = (H + 1) / (H + n)
        b = 4 sp sqrt(H log(2 T / delta) / n),   V = max_a (the least Q so far)

    Args:
      num_steps: T, which H and the bonus depend on.
      span_bound: sp(V*).
      horizon: H; by default the smaller of sqrt(sp T / (S A)) and
        (T / (S^2 A log(4 T / delta)))^(1/3), and at least 2.
      bonus_scale: of b; 1 for the theory.
      delta: chance of failure, in (0, 1).
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range.

    Reference:
      Wei, Jahromi, Luo, Sharma, Jain, 2020, https://arxiv.org/abs/1910.07072.
    """
    checks = (
        ("num_steps", num_steps, num_steps >= 1, ">= 1"),
        ("span_bound", span_bound, span_bound > 0, "> 0"),
        ("horizon", horizon, horizon is None or horizon > 1, "> 1"),
        ("bonus_scale", bonus_scale, bonus_scale >= 0, ">= 0"),
        ("delta", delta, 0 < delta < 1, "in (0, 1)"),
    )
    for field, value, holds, rule in checks:
        if not holds:
            raise ValueError(f"{field}: expected {rule}, got {value}")
    options = (num_steps, span_bound, horizon, bonus_scale, delta)
    return agent_of(name, _Learner(*options))


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of the agent."""

    num_steps: int
    span_bound: float
    horizon: float | None
    bonus_scale: float
    delta: float

    def _horizon(self, states: int, actions: int) -> float:
        if self.horizon is not None:
            return self.horizon
        steps = self.num_steps
        first = math.sqrt(self.span_bound * steps / (states * actions))
        logarithm = math.log(4 * steps / self.delta)
        second = (steps / (states**2 * actions * logarithm)) ** (1 / 3)
        return max(2.0, min(first, second))

    def init(self, key: Array, spec: Spec) -> TableState:
        shape = (spec.num_states, spec.num_actions)
        table = jnp.full(shape, self._horizon(*shape), jnp.float32)
        return TableState(table, table, jnp.zeros(shape))

    def act(self, key: Array, state: TableState, observation: Array) -> Array:
        return state.bounds[observation].argmax()

    def observe(self, state: TableState, seen: Transition) -> tuple[TableState, Array]:
        horizon = self._horizon(*state.values.shape)
        pair = (seen.state, seen.action)
        visits = state.visits[pair] + 1
        rate = (horizon + 1) / (horizon + visits)
        logarithm = math.log(2 * self.num_steps / self.delta)
        bonus = 4 * self.span_bound * jnp.sqrt(horizon / visits * logarithm)
        after = state.bounds[seen.next_state].max()
        target = seen.reward + (1 - 1 / horizon) * after + self.bonus_scale * bonus
        value = (1 - rate) * state.values[pair] + rate * target
        bound = jnp.minimum(state.bounds[pair], value)
        state = TableState(
            state.values.at[pair].set(value),
            state.bounds.at[pair].set(bound),
            state.visits.at[pair].set(visits),
        )
        return state, jnp.bool_(False)
