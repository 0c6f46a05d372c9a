"""Value-based LOOP on linear MDPs, and with kernels: FOPO's set, switched lazily."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Agent, Transition, Truth, agent_of
from sophia_jax.average_reward.loop import TRIGGER, check_options, switching_is_due
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

__all__ = ["fopo", "kernel_features", "loop_linear"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["design", "followed", "paid", "plan", "excess"],
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
    """

    design: Design
    followed: Float[Array, "dim state"]
    paid: Float[Array, " dim"]
    plan: Plan
    excess: Float[Array, ""]


def loop_linear(
    features: Float[Array, "state action dim"],
    *,
    beta: float,
    span_bound: float,
    ridge: float = 1.0,
    trigger: float = TRIGGER,
    tolerance: float = 1e-3,
    name: str = "LOOP (linear)",
) -> Agent:
    """LOOP where Q_f = <phi, w_f>, as in linear MDPs.

        w_hat(f) = Lambda^-1 sum_i phi_i (r_i + V_f(s_{i+1}) - J_f)
        L_D(f, f) - inf_g L_D(f, g) = ||w_f - w_hat(f)||^2_Lambda           [derived]

    which is the set of FOPO. The best (w, J) of it is a hard problem; what is chosen is
    the fixed point of

        Q(s, a) + J = <phi, w_hat(V)> + sqrt(beta) ||phi||_{Lambda^-1},

    clipped to the span: each pair has a w of its own in the set, so no hypothesis of it
    has a larger gain [derived]. Its in-sample error starts at beta, where it may be at
    most, and is then kept with what it predicts at the pairs that are seen.

    Args:
      features: phi; the rows' norms should be at most of order 1.
      beta: see `confidence_radius`, with a log N of dim log T.
      span_bound: sp(V*), at which V is clipped.
      ridge: of the regression.
      trigger: of how many beta the policy is given up.
      tolerance: of value iteration, on the gain.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range.
    """
    check_options(beta=beta, trigger=trigger, span_bound=span_bound)
    empty_design(1, 1, ridge)
    features = np.asarray(features, np.float32)
    options = (beta, float(span_bound), ridge, trigger, tolerance, True)
    return agent_of(name, _Learner(features, *options))


def fopo(
    features: Float[Array, "state action dim"],
    *,
    beta: float,
    span_bound: float,
    ridge: float = 1.0,
    tolerance: float = 1e-3,
    name: str = "FOPO",
) -> Agent:
    """FOPO: the set of `loop_linear`, and a new policy at every step.

    It plans as often as it acts, which makes it slow.

    Reference:
      Wei, Jahromi, Luo, Jain, 2021, https://arxiv.org/abs/2007.11849.
    """
    check_options(beta=beta, trigger=TRIGGER, span_bound=span_bound)
    empty_design(1, 1, ridge)
    features = np.asarray(features, np.float32)
    options = (beta, float(span_bound), ridge, TRIGGER, tolerance, False)
    return agent_of(name, _Learner(features, *options))


def kernel_features(
    kernel: Float[Array, "pair pair"], num_actions: int, *, tolerance: float = 1e-6
) -> Float[np.ndarray, "state action dim"]:
    """Features whose inner products are a kernel's values: kernel ridge regression.

        K = U diag(l) U^T,   phi = U sqrt(l)

    On finitely many pairs regression on them is that with the kernel, exactly, so that
    `loop_linear` with them is LOOP for kernel MDPs.

    Args:
      kernel: k of all pairs (s, a), numbered s num_actions + a; symmetric, with no
        negative eigenvalues.
      num_actions: of the MDP.
      tolerance: eigenvalues below this share of the largest are left out.

    Raises:
      ValueError: the kernel is not symmetric, or has a negative eigenvalue.
    """
    kernel = np.asarray(kernel, np.float64)
    if not np.allclose(kernel, kernel.T, rtol=1e-6, atol=1e-9):
        off = np.abs(kernel - kernel.T).max()
        raise ValueError(
            f"kernel: expected a symmetric one, got a difference of {off:.3g}"
        )
    if len(kernel) % num_actions:
        rule = f"a multiple of {num_actions} rows"
        raise ValueError(f"kernel: expected {rule}, got {len(kernel)}")
    values, vectors = np.linalg.eigh(kernel)
    if values[0] < -tolerance * values[-1]:
        rule = "no negative eigenvalue"
        raise ValueError(f"kernel: expected {rule}, got {values[0]:.3g}")
    kept = values > tolerance * values[-1]
    features = vectors[:, kept] * np.sqrt(values[kept])
    return features.reshape(-1, num_actions, features.shape[1])


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of the agent."""

    features: np.ndarray
    beta: float
    span_bound: float
    ridge: float
    trigger: float
    tolerance: float
    is_lazy: bool

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
        design, fitted = absorb(state.design, jnp.int32(0), row, error)
        excess = state.excess + (state.plan.action_values[pair] - target) ** 2 - fitted
        state = LinearState(
            design,
            state.followed.at[:, seen.next_state].add(row),
            state.paid + row * seen.reward,
            state.plan,
            excess,
        )
        due = switching_is_due(excess, self.beta, self.trigger)
        return state, due if self.is_lazy else jnp.bool_(True)

    def plan(self, state: LinearState) -> LinearState:
        design, phi = refreshed(state.design), jnp.asarray(self.features)
        width = jnp.sqrt(squared_width(design, jnp.zeros(phi.shape[:2], int), phi))
        bonus = jnp.sqrt(self.beta) * width
        paid = phi @ (design.inverse[0] @ state.paid)
        moves = phi @ (design.inverse[0] @ state.followed)

        def backup(values: Array) -> Array:
            best = paid + moves @ values + bonus
            return jnp.clip(best, values.min(), values.max() + 1)

        plan = value_iteration(
            backup,
            state.plan.values,
            span_bound=self.span_bound,
            tolerance=self.tolerance,
            max_iterations=2000,
        )
        excess = jnp.float32(self.beta)
        return replace(state, design=design, plan=plan, excess=excess)

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
