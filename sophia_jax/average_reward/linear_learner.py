"""Agents that regress on features of state and action, and add bonuses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Transition, Truth
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.average_reward.planning import Plan, value_iteration
from sophia_jax.average_reward.regression import (
    absorb,
    empty_root,
    squared_norm,
    squared_width,
)
from sophia_jax.types import Array, Float

__all__ = ["LinearLearner", "LinearState", "learnt"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["root", "moves", "paid", "plan", "excess", "growth"],
    meta_fields=[],
)
@dataclass(frozen=True)
class LinearState:
    """What the agent knows.

    Attributes:
      root: of Lambda^-1, of the rows phi(s_i, a_i), Float[dim dim].
      moves: weights by which they tell whether s_{i+1} is a state, Float[dim state].
      paid: weights by which they tell r_i, Float[dim].
      plan: of the policy in force.
      excess: L_D(f_t, f_t) - inf_g L_D(f_t, g).
      growth: log det Lambda, above what it was at the last plan.
    """

    root: Float[Array, "dim dim"]
    moves: Float[Array, "dim state"]
    paid: Float[Array, " dim"]
    plan: Plan
    excess: Float[Array, ""]
    growth: Float[Array, ""]


@dataclass(frozen=True, eq=False)
class LinearLearner:
    """The functions of the agents whose Q is linear in features.

    Attributes:
      features: phi, Float[state action dim].
      beta: bonuses are sqrt(beta) ||phi||_{Lambda^-1}.
      span_bound: sp(V*), at which V is clipped.
      ridge: of the regression.
      tolerance: of value iteration, on the gain.
      is_due: (excess, growth) -> whether to plan, of the state's fields.
      discount: gamma; 1 for the average reward itself.
    """

    features: np.ndarray
    beta: float
    span_bound: float
    ridge: float
    tolerance: float
    is_due: Callable[[Array, Array], Array]
    discount: float = 1.0

    def init(self, key: Array, spec: Spec) -> LinearState:
        shape = spec.shape_of(self.features.shape[:2])
        dim, values = self.features.shape[-1], jnp.zeros(spec.num_states)
        nothing = (values, values.astype(jnp.int32), values[0], jnp.int32(0))
        state = LinearState(
            empty_root(dim, self.ridge),
            jnp.zeros((dim, spec.num_states)),
            jnp.zeros(dim),
            Plan(jnp.zeros(shape), *nothing),
            jnp.float32(self.beta),
            jnp.float32(0),
        )
        return self.plan(state)

    def act(self, key: Array, state: LinearState, observation: Array) -> Array:
        return state.plan.policy[observation]

    def observe(
        self, state: LinearState, seen: Transition
    ) -> tuple[LinearState, Array]:
        pair = (seen.state, seen.action)
        row = jnp.asarray(self.features)[pair]
        target = seen.reward + state.plan.values[seen.next_state]
        error = target - row @ (state.paid + state.moves @ state.plan.values)
        root, moves, paid, width = learnt(state, row, seen)
        failed = (state.plan.action_values[pair] - target) ** 2
        excess = state.excess + failed - error**2 / width
        growth = state.growth + jnp.log(width)
        state = LinearState(root, moves, paid, state.plan, excess, growth)
        return state, self.is_due(excess, growth)

    def plan(self, state: LinearState) -> LinearState:
        phi = jnp.asarray(self.features)
        bonus = jnp.sqrt(self.beta * squared_width(state.root[None, None], phi))
        paid, moves = phi @ state.paid, phi @ state.moves

        def backup(values: Array) -> Array:
            above = self.discount * (moves @ (values - values.min()) + bonus)
            best = paid + values.min() + above
            return jnp.clip(best, values.min(), values.max() + 1)

        plan = value_iteration(
            backup,
            state.plan.values,
            span_bound=self.span_bound,
            tolerance=self.tolerance,
            max_iterations=2000,
        )
        excess = jnp.float32(self.beta)
        return replace(state, plan=plan, excess=excess, growth=jnp.float32(0))

    def describe(self, state: LinearState) -> dict[str, Array]:
        return {
            "optimistic_gain": state.plan.gain,
            "num_iterations": state.plan.num_iterations,
        }

    def covers(self, state: LinearState, truth: Truth) -> Array:
        """Whether (w*, J*) is in the set: ||w* - w_hat(w*, J*)||^2_Lambda <= beta."""
        phi = jnp.asarray(self.features).reshape(-1, self.features.shape[-1])
        values = truth.bias - (truth.bias.max() + truth.bias.min()) / 2
        backup = truth.reward + truth.transition @ values
        right = jnp.linalg.pinv(phi) @ backup.reshape(-1)
        off = right - (state.paid + state.moves @ values)
        return squared_norm(state.root, off) <= self.beta


def learnt(
    state: Any, row: Float[Array, " dim"], seen: Transition
) -> tuple[Array, Array, Array, Array]:
    """Regressions of where steps led and of what they paid, with one more step.

    Args:
      state: with `root`, `moves` and `paid`, as `LinearState` has them.
      row: phi of the step.
      seen: the step.

    Returns:
      The three anew, and 1 + ||phi||^2 as `absorb` tells it.
    """
    root, toward, width = absorb(state.root, row)
    led = jax.nn.one_hot(seen.next_state, state.moves.shape[1]) - row @ state.moves
    paid = state.paid + toward * (seen.reward - row @ state.paid)
    return root, state.moves + jnp.outer(toward, led), paid, width
