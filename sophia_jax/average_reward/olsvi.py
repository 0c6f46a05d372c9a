"""OLSVI.FH: average reward by way of episodes of finite length."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Agent, Transition, agent_of
from sophia_jax.average_reward.linear_learner import learnt
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.average_reward.regression import empty_root, squared_width
from sophia_jax.types import Array, Float, Int

__all__ = ["olsvi_fh"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["root", "moves", "paid", "policies", "position"],
    meta_fields=[],
)
@dataclass(frozen=True)
class EpisodeState:
    """Attributes:
    root, moves, paid: the regression, as in `LinearState`.
    policies: of each position in an episode, Int[position state].
    position: how far this one has come.
    """

    root: Float[Array, "dim dim"]
    moves: Float[Array, "dim state"]
    paid: Float[Array, " dim"]
    policies: Int[Array, "position state"]
    position: Int[Array, ""]


def olsvi_fh(
    features: Float[Array, "state action dim"],
    num_steps: int,
    *,
    beta: float,
    span_bound: float,
    horizon: int | None = None,
    ridge: float = 1.0,
    name: str = "OLSVI.FH",
) -> Agent:
    """Least-squares value iteration with bonuses, in episodes of H steps [recalled].

        Q_h = min(H - h, <phi, Lambda^-1 sum_i phi_i (r_i + V_{h+1}(s_{i+1}))>
                         + sqrt(beta) ||phi||_{Lambda^-1}),   V_H = 0

    There is no reset: each episode begins where the last has ended.

    Args:
      features: phi.
      num_steps: T.
      beta: radius, squared.
      span_bound: sp(V*); H depends on it.
      horizon: H; by default sqrt(sp) T^(1/4) / d^(3/4), at least 2: the loss by
        ending, sp T / H, is that by learning then, d^(3/2) H sqrt(T) [derived].
      ridge: of the regression.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range.

    Reference:
      Wei, Jahromi, Luo, Jain, 2021, https://arxiv.org/abs/2007.11849.
    """
    features = np.asarray(features, np.float32)
    dim = features.shape[-1]
    checks = (
        ("num_steps", num_steps, num_steps >= 1, ">= 1"),
        ("beta", beta, beta >= 0, ">= 0"),
        ("span_bound", span_bound, span_bound > 0, "> 0"),
        ("horizon", horizon, horizon is None or horizon >= 1, ">= 1"),
    )
    for field, value, holds, rule in checks:
        if not holds:
            raise ValueError(f"{field}: expected {rule}, got {value}")
    empty_root(1, ridge)
    if horizon is None:
        balanced = math.sqrt(span_bound) * num_steps**0.25 / dim**0.75
        horizon = max(2, round(balanced))
    return agent_of(name, _Learner(features, beta, horizon, ridge))


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of the agent."""

    features: np.ndarray
    beta: float
    horizon: int
    ridge: float

    def init(self, key: Array, spec: Spec) -> EpisodeState:
        spec.shape_of(self.features.shape[:2])
        dim = self.features.shape[-1]
        state = EpisodeState(
            empty_root(dim, self.ridge),
            jnp.zeros((dim, spec.num_states)),
            jnp.zeros(dim),
            jnp.zeros((self.horizon, spec.num_states), jnp.int32),
            jnp.int32(0),
        )
        return self.plan(state)

    def act(self, key: Array, state: EpisodeState, observation: Array) -> Array:
        return state.policies[state.position, observation]

    def observe(
        self, state: EpisodeState, seen: Transition
    ) -> tuple[EpisodeState, Array]:
        row = jnp.asarray(self.features)[seen.state, seen.action]
        root, moves, paid, _ = learnt(state, row, seen)
        position = state.position + 1
        state = EpisodeState(root, moves, paid, state.policies, position)
        return state, state.position >= self.horizon

    def plan(self, state: EpisodeState) -> EpisodeState:
        phi = jnp.asarray(self.features)
        width = squared_width(state.root[None, None], phi)
        best = phi @ state.paid + jnp.sqrt(self.beta * width)
        moves = phi @ state.moves

        def backward(values: Array, left: Array) -> tuple[Array, Array]:
            action_values = jnp.clip(best + moves @ values, 0, left)
            return action_values.max(1), action_values.argmax(1).astype(jnp.int32)

        to_go = jnp.arange(1, self.horizon + 1, dtype=jnp.float32)
        _, policies = jax.lax.scan(backward, jnp.zeros(phi.shape[0]), to_go)
        return replace(state, policies=policies[::-1], position=jnp.int32(0))
