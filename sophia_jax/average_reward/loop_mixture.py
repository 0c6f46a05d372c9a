"""Model-based LOOP on linear mixtures, whose confidence set is an ellipsoid."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Agent, Transition, Truth, agent_of
from sophia_jax.average_reward.loop import TRIGGER, check_options, switching_is_due
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.average_reward.planning import Plan, value_iteration
from sophia_jax.average_reward.regression import (
    absorb,
    empty_root,
    squared_norm,
    squared_width,
)
from sophia_jax.types import Array, Bool, Float

__all__ = ["loop_mixture", "loop_tabular"]

UNSEEN = 1.0  # the reward of a pair that was never paid for: the largest there is


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["root", "weights", "reward", "seen", "plan", "excess"],
    meta_fields=[],
)
@dataclass(frozen=True)
class MixtureState:
    """What the agent knows.

    Attributes:
      root: of Lambda^-1, of the rows psi_{V_{f_i}}(s_i, a_i), Float[block dim dim].
      weights: theta_hat, by which they tell V_{f_i}(s_{i+1}), Float[block dim].
      reward: what is believed of rewards, Float[state action].
      seen: which rewards are known, Bool[state action].
      plan: of the policy in force; `plan.values` is V_{f_t}.
      excess: L_D(f_t) - min_g L_D(g).
    """

    root: Float[Array, "block dim dim"]
    weights: Float[Array, "block dim"]
    reward: Float[Array, "state action"]
    seen: Bool[Array, "state action"]
    plan: Plan
    excess: Float[Array, ""]


def loop_mixture(
    features: Float[Array, "state action state dim"],
    *,
    beta: float,
    span_bound: float,
    reward: Float[Array, "state action"] | None = None,
    ridge: float = 1.0,
    trigger: float = TRIGGER,
    tolerance: float = 1e-3,
    name: str = "LOOP (mixture)",
) -> Agent:
    """LOOP where P_theta(s' | s, a) = <phi(s, a, s'), theta>.

        psi_V(s, a) = sum_s' phi(s, a, s') V(s'),   y_i = V_{f_i}(s_{i+1})
        L_D(f) - inf_g L_D(g) = ||theta_f - theta_hat||^2_Lambda            [derived]

    The optimistic choice is that of extended value iteration, which lets each pair have
    a theta of its own in the ellipsoid: a relaxation, by which no hypothesis of the set
    is better [derived]. Its in-sample error starts at beta, where it may be at most,
    and is then kept with what it predicts at the pairs that are seen.

        u(s) <- max_a r(s, a) + <psi_u, theta_hat> + sqrt(beta) ||psi_u||_{Lambda^-1}

    The set, of each pair's own hypotheses, never becomes empty; a span bound that is
    too small is told, where it can be, by what is earned: see `contradicted`.

    Args:
      features: phi.
      beta: radius of the ellipsoid, squared; see `ellipsoid_radius`.
      span_bound: sp(V*), at which u is clipped.
      reward: r, if it is known. Otherwise a pair's is believed to be the largest, 1,
        until it is paid; one that is less is a reason to plan at once.
      ridge: of the regression.
      trigger: of how many beta the policy is given up.
      tolerance: of extended value iteration, on the gain.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range.
    """
    features = np.asarray(features, np.float32)
    blocks = np.zeros(features.shape[:2], np.int32)
    check_options(beta=beta, trigger=trigger, span_bound=span_bound)
    empty_root(1, ridge)
    options = (beta, float(span_bound), reward, ridge, trigger, tolerance)
    return agent_of(name, _Learner(features, blocks, *options), span_bound=span_bound)


def loop_tabular(
    num_states: int,
    num_actions: int,
    *,
    beta: float,
    span_bound: float,
    ridge: float = 1.0,
    trigger: float = TRIGGER,
    tolerance: float = 1e-3,
    name: str = "LOOP (tabular)",
) -> Agent:
    """`loop_mixture` with one-hot features: every row of P is a theta of its own.

    Args:
      num_states, num_actions: of the MDP; the others as in `loop_mixture`, with a
        dimension of num_states^2 num_actions, and rows of norm sp / 2 sqrt(num_states).
    """
    shape = (num_states, num_actions)
    one_hot = np.eye(num_states, dtype=np.float32)
    features = np.broadcast_to(one_hot, (*shape, num_states, num_states))
    blocks = np.arange(num_states * num_actions, dtype=np.int32).reshape(shape)
    check_options(beta=beta, trigger=trigger, span_bound=span_bound)
    empty_root(1, ridge)
    options = (beta, float(span_bound), None, ridge, trigger, tolerance)
    return agent_of(name, _Learner(features, blocks, *options), span_bound=span_bound)


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of the agent. Pairs of one block share their theta."""

    features: np.ndarray
    blocks: np.ndarray
    beta: float
    span_bound: float
    reward: Array | None
    ridge: float
    trigger: float
    tolerance: float

    def init(self, key: Array, spec: Spec) -> MixtureState:
        shape = spec.shape_of(self.features.shape[:2])
        count, dim = int(self.blocks.max()) + 1, self.features.shape[-1]
        known = self.reward is not None
        reward = jnp.asarray(self.reward if known else UNSEEN, jnp.float32)
        values = jnp.zeros(spec.num_states)
        nothing = jnp.zeros(shape)
        plan = Plan(nothing, values, values.astype(jnp.int32), values[0], jnp.int32(0))
        state = MixtureState(
            empty_root(dim, self.ridge, count),
            jnp.zeros((count, dim)),
            jnp.broadcast_to(reward, shape),
            jnp.full(shape, known),
            plan,
            jnp.float32(self.beta),
        )
        return self.plan(state)

    def act(self, key: Array, state: MixtureState, observation: Array) -> Array:
        return state.plan.policy[observation]

    def observe(
        self, state: MixtureState, seen: Transition
    ) -> tuple[MixtureState, Array]:
        pair = (seen.state, seen.action)
        block, value = jnp.asarray(self.blocks)[pair], state.plan.values
        row = value @ jnp.asarray(self.features)[pair]
        target = value[seen.next_state]
        error = target - row @ state.weights[block]
        predicted = state.plan.action_values[pair] - state.reward[pair]
        root, toward, width = absorb(state.root[block], row)
        excess = state.excess + (predicted - target) ** 2 - error**2 / width
        surprised = ~state.seen[pair] & (seen.reward != state.reward[pair])
        state = replace(
            state,
            root=state.root.at[block].set(root),
            weights=state.weights.at[block].add(toward * error),
            reward=state.reward.at[pair].set(seen.reward),
            seen=state.seen.at[pair].set(True),
            excess=excess,
        )
        return state, surprised | switching_is_due(excess, self.beta, self.trigger)

    def plan(self, state: MixtureState) -> MixtureState:
        theta, root = (each[self.blocks] for each in (state.weights, state.root))

        def backup(values: Array) -> Array:
            rows = jnp.einsum("sapd,p->sad", self.features, values)
            mean = jnp.einsum("sad,sad->sa", rows, theta)
            width = jnp.sqrt(squared_width(root, rows))
            best = mean + jnp.sqrt(self.beta) * width
            return state.reward + jnp.clip(best, values.min(), values.max())

        plan = value_iteration(
            backup,
            state.plan.values,
            span_bound=self.span_bound,
            tolerance=self.tolerance,
            max_iterations=2000,
        )
        excess = jnp.float32(self.beta)
        return replace(state, plan=plan, excess=excess)

    def describe(self, state: MixtureState) -> dict[str, Array]:
        return {
            "optimistic_gain": state.plan.gain,
            "num_iterations": state.plan.num_iterations,
        }

    def covers(self, state: MixtureState, truth: Truth) -> Array:
        """Whether ||theta* - theta_hat||^2_Lambda, over all blocks, is at most beta."""
        count, dim = state.weights.shape
        design = jnp.asarray(self.features).reshape(-1, dim)
        blocks = jnp.repeat(jnp.asarray(self.blocks).reshape(-1), truth.bias.shape[0])
        member = jax.nn.one_hot(blocks, count).T[:, :, None]
        gram = jnp.einsum("bnd,ne->bde", member * design[None], design)
        moment = jnp.einsum(
            "bnd,n->bd", member * design[None], truth.transition.ravel()
        )
        right = jnp.einsum("bde,be->bd", jnp.linalg.pinv(gram), moment)
        off = right - state.weights
        return squared_norm(state.root, off).sum() <= self.beta
