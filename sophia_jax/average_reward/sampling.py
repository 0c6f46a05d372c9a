"""Agents that believe one model at a time: a posterior draw, or the likeliest."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Agent, Transition, agent_of
from sophia_jax.average_reward.counts import Counts, counted, new_epoch, no_counts
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.average_reward.planning import Plan, value_iteration
from sophia_jax.types import Array, Float, Int

__all__ = ["epsilon_greedy", "posterior_model", "psrl"]

MAX_SWEEPS = 2000  # what was seen may look multichain: then there is no fixed point


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["counts", "plan", "key", "length", "longest"],
    meta_fields=[],
)
@dataclass(frozen=True)
class SampledState:
    """What the agents know.

    Attributes:
      counts: of what was seen.
      plan: for the model that is believed.
      key: of the next model.
      length: steps of this epoch.
      longest: steps after which it ends in any case.
    """

    counts: Counts
    plan: Plan
    key: Array
    length: Int[Array, ""]
    longest: Int[Array, ""]


def posterior_model(
    key: Array, counts: Counts, *, prior: float
) -> tuple[Float[Array, "state action state"], Float[Array, "state action"]]:
    """Rows from Dirichlet(prior / S + counts), rewards from Beta(1 + paid, 1 + not)."""
    states = counts.followed.shape[-1]
    missed = jnp.maximum(counts.visits - counts.paid, 0)
    of_rewards = 1 + jnp.stack([counts.paid, missed], -1)
    shapes = jnp.concatenate([prior / states + counts.followed, of_rewards], -1)
    drawn = jax.random.loggamma(key, shapes)  # one sampler for both distributions
    rows = jax.nn.softmax(drawn[..., :states])
    return rows, jax.nn.softmax(drawn[..., states:])[..., 0]


def psrl(*, prior: float = 1.0, name: str = "PSRL") -> Agent:
    """Posterior sampling for the average reward, in epochs of growing length.

    Rows are drawn from Dirichlet(prior / S + counts), mean rewards from
    Beta(1 + sum r, 1 + n - sum r), which takes rewards in [0, 1]. An epoch ends when a
    pair has doubled its visits, or when it is one step longer than the last [recalled].

    Args:
      prior: of the Dirichlet, shared among the states.
      name: of the agent in tables.

    Raises:
      ValueError: prior <= 0.

    Reference:
      Ouyang, Gagrani, Nayyar, Jain, 2017, https://arxiv.org/abs/1709.04570 (TSDE).
    """
    if not prior > 0:
        raise ValueError(f"prior: expected > 0, got {prior}")

    model = functools.partial(posterior_model, prior=prior)
    return agent_of(name, _Learner(model, epsilon=0.0, grows=True))


def epsilon_greedy(*, epsilon: float = 0.05, name: str | None = None) -> Agent:
    """The best policy for what was seen so far, but for a random action now and then.

    It plans when a pair has doubled its visits; what was never tried is believed to pay
    nothing and to lead anywhere. Its regret is linear: exploration goes on for ever.

    Args:
      epsilon: chance of an action at random, in [0, 1].
      name: of the agent in tables.

    Raises:
      ValueError: epsilon out of range.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon: expected in [0, 1], got {epsilon}")

    def model(key: Array, counts: Counts) -> tuple[Array, Array]:
        return counts.frequencies, counts.mean_reward

    name = f"greedy, {epsilon:g} at random" if name is None else name
    return agent_of(name, _Learner(model, epsilon=epsilon, grows=False))


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of both agents; `model` is (key, counts) -> rows, rewards."""

    model: object
    epsilon: float
    grows: bool

    def init(self, key: Array, spec: Spec) -> SampledState:
        counts, values = no_counts(spec), jnp.zeros(spec.num_states)
        nothing = (values, values.astype(jnp.int32), values[0], jnp.int32(0))
        plan = Plan(counts.paid, *nothing)
        state = SampledState(counts, plan, key, jnp.int32(0), jnp.int32(0))
        return self.plan(state)

    def act(self, key: Array, state: SampledState, observation: Array) -> Array:
        best = state.plan.policy[observation]
        if self.epsilon == 0:
            return best
        whether, which = jax.random.split(key)
        actions = state.plan.action_values.shape[1]
        other = jax.random.randint(which, (), 0, actions)
        return jnp.where(jax.random.bernoulli(whether, self.epsilon), other, best)

    def observe(
        self, state: SampledState, seen: Transition
    ) -> tuple[SampledState, Array]:
        counts, doubled = counted(state.counts, seen)
        state = replace(state, counts=counts, length=state.length + 1)
        too_long = state.length > state.longest if self.grows else jnp.bool_(False)
        return state, doubled | too_long

    def plan(self, state: SampledState) -> SampledState:
        key, now = jax.random.split(state.key)
        rows, reward = self.model(now, state.counts)

        def backup(values: Float[Array, " state"]) -> Float[Array, "state action"]:
            return reward + rows @ values

        plan = value_iteration(
            backup, state.plan.values, tolerance=1e-3, max_iterations=MAX_SWEEPS
        )
        counts = new_epoch(state.counts)
        return SampledState(counts, plan, key, jnp.int32(0), state.length)

    def describe(self, state: SampledState) -> dict[str, Array]:
        return {"believed_gain": state.plan.gain}
