"""Agents that regress on features of state and action, and add bonuses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Transition, Truth
from sophia_jax.average_reward.loop_models import check_size
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.average_reward.planning import Plan, value_iteration
from sophia_jax.average_reward.regression import (
    Design,
    absorb,
    empty_design,
    refreshed,
    squared_width,
)
from sophia_jax.types import Array, Float

__all__ = ["LinearLearner", "LinearState"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["design", "followed", "paid", "plan", "excess", "growth"],
    meta_fields=[],
)
@dataclass(frozen=True)
class LinearState:
    """What the agent knows.

    Attributes:
      design: of the rows phi(s_i, a_i), in one block.
      followed: sum of phi_i in the column of s_{i+1}, Float[dim state].
      paid: sum of phi_i r_i, Float[dim].
      plan: of the policy in force.
      excess: L_D(f_t, f_t) - inf_g L_D(f_t, g).
      growth: log det Lambda, above what it was at the last plan.
    """

    design: Design
    followed: Float[Array, "dim state"]
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
        shape = (spec.num_states, spec.num_actions)
        check_size(shape, self.features.shape[:2])
        dim, values = self.features.shape[-1], jnp.zeros(spec.num_states)
        nothing = (values, values.astype(jnp.int32), values[0], jnp.int32(0))
        state = LinearState(
            empty_design(1, dim, self.ridge),
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
        moment = state.paid + state.followed @ state.plan.values
        error = target - row @ (state.design.inverse[0] @ moment)
        width = squared_width(state.design, jnp.int32(0), row)
        design, fitted = absorb(state.design, jnp.int32(0), row, error)
        excess = state.excess + (state.plan.action_values[pair] - target) ** 2 - fitted
        state = LinearState(
            design,
            state.followed.at[:, seen.next_state].add(row),
            state.paid + row * seen.reward,
            state.plan,
            excess,
            state.growth + jnp.log1p(width),
        )
        return state, self.is_due(excess, state.growth)

    def plan(self, state: LinearState) -> LinearState:
        design, phi = refreshed(state.design), jnp.asarray(self.features)
        width = jnp.sqrt(squared_width(design, jnp.zeros(phi.shape[:2], int), phi))
        bonus = jnp.sqrt(self.beta) * width
        paid = phi @ (design.inverse[0] @ state.paid)
        moves = phi @ (design.inverse[0] @ state.followed)

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
        growth = jnp.float32(0)
        return replace(state, design=design, plan=plan, excess=excess, growth=growth)

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
        fitted = state.design.inverse[0] @ (state.paid + state.followed @ values)
        off = right - fitted
        return off @ state.design.precision[0] @ off <= self.beta
