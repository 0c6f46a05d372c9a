"""MDP-EXP2: exponential weights on estimates of linear action values."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Agent, Transition, agent_of
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Float, Int

__all__ = ["mdp_exp2"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["total", "design", "moment", "row", "returned", "position"],
    meta_fields=[],
)
@dataclass(frozen=True)
class ExponentialState:
    """What the agent knows.

    Attributes:
      total: the sum of all epochs' estimates, Float[dim].
      design, moment: sums of phi phi^T and of phi R over this epoch's windows.
      row: phi at the middle of this window, Float[dim].
      returned: R, what was paid since then.
      position: steps of this epoch.
    """

    total: Float[Array, " dim"]
    design: Float[Array, "dim dim"]
    moment: Float[Array, " dim"]
    row: Float[Array, " dim"]
    returned: Float[Array, ""]
    position: Int[Array, ""]


def mdp_exp2(
    features: Float[Array, "state action dim"],
    *,
    window: int = 20,
    windows: int = 50,
    rate: float = 0.02,
    ridge: float = 1e-2,
    name: str = "MDP-EXP2",
) -> Agent:
    """A softmax policy, raised along linear estimates of its own values [recalled].

        pi(a | s) ~ exp(rate <phi(s, a), sum of the epochs' w>)
        w = M^-1 sum_m phi(s_m, a_m) R_m,   M = sum_m phi(s_m, a_m) phi(s_m, a_m)^T

    An epoch has a number of windows. Half of a window is waited, for the chain to mix;
    R_m is what the other half pays, from (s_m, a_m) on. The paper asks for mixing under
    every policy, and sets w to 0 where M is nearly singular; here M has a ridge.

    Args:
      features: phi.
      window: half of a window's steps, of the order of the mixing time.
      windows: of an epoch.
      rate: of the weights; of the order of 1 / (window sqrt(epochs)).
      ridge: of M, per window.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range.

    Reference:
      Wei, Jahromi, Luo, Jain, 2021, https://arxiv.org/abs/2007.11849.
    """
    checks = (
        ("window", window, window >= 1, ">= 1"),
        ("windows", windows, windows >= 1, ">= 1"),
        ("rate", rate, rate > 0, "> 0"),
        ("ridge", ridge, ridge > 0, "> 0, or M can be singular"),
    )
    for field, value, holds, rule in checks:
        if not holds:
            raise ValueError(f"{field}: expected {rule}, got {value}")
    features = np.asarray(features, np.float32)
    return agent_of(name, _Learner(features, window, windows, rate, ridge))


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of the agent."""

    features: np.ndarray
    window: int
    windows: int
    rate: float
    ridge: float

    def init(self, key: Array, spec: Spec) -> ExponentialState:
        spec.shape_of(self.features.shape[:2])
        none = jnp.zeros(self.features.shape[-1])
        nothing = (none, jnp.outer(none, none), none, none, jnp.float32(0))
        return ExponentialState(*nothing, jnp.int32(0))

    def act(self, key: Array, state: ExponentialState, observation: Array) -> Array:
        logits = self.rate * (jnp.asarray(self.features)[observation] @ state.total)
        return jax.random.categorical(key, logits)

    def observe(
        self, state: ExponentialState, seen: Transition
    ) -> tuple[ExponentialState, Array]:
        place = state.position % (2 * self.window)
        row = jnp.asarray(self.features)[seen.state, seen.action]
        begins = place == self.window
        row = jnp.where(begins, row, state.row)
        returned = jnp.where(begins, 0, state.returned) + seen.reward
        ends = (place == 2 * self.window - 1).astype(jnp.float32)
        state = ExponentialState(
            state.total,
            state.design + ends * jnp.outer(row, row),
            state.moment + ends * row * returned,
            row,
            returned,
            state.position + 1,
        )
        return state, state.position >= 2 * self.window * self.windows

    def plan(self, state: ExponentialState) -> ExponentialState:
        identity = jnp.eye(len(state.total))
        design = state.design + self.ridge * self.windows * identity
        estimate = jnp.linalg.solve(design, state.moment)
        return replace(
            state,
            total=state.total + estimate,
            design=jnp.zeros_like(design),
            moment=jnp.zeros_like(state.moment),
            position=jnp.int32(0),
        )
