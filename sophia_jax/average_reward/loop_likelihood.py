"""LOOP by likelihood: models are believed that explain what was seen nearly best.

The variant is known to us by its name alone. As we understand it, the confidence set is
that of log-likelihood ratios, and the discrepancy a total variation:

    B_t = { f : log p_f(D) >= max_g log p_g(D) - beta }
    again when sum_i TV(f_t, the likeliest)(s_i, a_i) >= 3 sqrt(beta t)

The order of the trigger is recalled; that it is the distance to the likeliest is
derived, from what bounds it: in B_t, sums of squared distances are of order beta.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Agent, Transition, Truth, agent_of
from sophia_jax.average_reward.hypotheses import ModelClass
from sophia_jax.average_reward.loop import (
    TRIGGER,
    check_options,
    confidence_set,
    optimistic_choice,
)
from sophia_jax.average_reward.loop_models import admissible, check_size, same_model
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Bool, Float, Int

__all__ = ["likelihood_radius", "loop_likelihood"]

SAME_REWARD = 1e-5  # rewards are paid for certain: one that differs is impossible


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["behind", "visits", "chosen", "apart", "empty"],
    meta_fields=[],
)
@dataclass(frozen=True)
class LikelihoodState:
    """What the agent knows.

    Attributes:
      behind: max_g log p_g(D) - log p_f(D), Float[hypothesis]; inf of impossible ones.
      visits: Float[state action].
      chosen: f_t.
      apart: sum_i TV(f_t, g)(s_i, a_i), Float[hypothesis].
      empty: whether there was nothing in the confidence set.
    """

    behind: Float[Array, " hypothesis"]
    visits: Float[Array, "state action"]
    chosen: Int[Array, ""]
    apart: Float[Array, " hypothesis"]
    empty: Bool[Array, ""]


def likelihood_radius(num_models: int, *, delta: float = 0.05) -> float:
    """beta = log(N / delta) [derived].

    A likelihood ratio to the truth is a martingale of mean 1, so that it exceeds
    N / delta for one of N models, at any time, with chance at most delta.

    Raises:
      ValueError: an argument out of range.
    """
    if num_models < 1:
        raise ValueError(f"num_models: expected >= 1, got {num_models}")
    if not 0 < delta < 1:
        raise ValueError(f"delta: expected in (0, 1), got {delta}")
    return math.log(num_models / delta)


def loop_likelihood(
    models: ModelClass,
    *,
    beta: float,
    span_bound: float,
    trigger: float = TRIGGER,
    name: str = "LOOP (likelihood)",
) -> Agent:
    """LOOP on a finite class, by likelihood; see this module for what is certain of it.

    Args:
      models: the class.
      beta: see `likelihood_radius`.
      span_bound: sp(V*); hypotheses of a larger one are not believed.
      trigger: of how many sqrt(beta t) the policy is given up.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range, or no hypothesis within the span bound.
    """
    check_options(beta=beta, trigger=trigger, span_bound=span_bound)
    believable = admissible(models, span_bound)
    return agent_of(
        name, _Learner(models, believable, beta, trigger), span_bound=span_bound
    )


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of the agent, about its tables."""

    models: ModelClass
    admissible: Array
    beta: float
    trigger: float

    def init(self, key: Array, spec: Spec) -> LikelihoodState:
        shape = (spec.num_states, spec.num_actions)
        check_size(shape, self.models.reward.shape[1:])
        none = jnp.zeros(len(self.models.gain))
        nothing = (none, jnp.zeros(shape), jnp.int32(0), none, jnp.bool_(False))
        return self.plan(LikelihoodState(*nothing))

    def act(self, key: Array, state: LikelihoodState, observation: Array) -> Array:
        policies = jnp.asarray(self.models.action_values.argmax(-1), jnp.int32)
        return policies[state.chosen, observation]

    def observe(
        self, state: LikelihoodState, seen: Transition
    ) -> tuple[LikelihoodState, Array]:
        pair = (seen.state, seen.action)
        rows = jnp.asarray(self.models.transition)[:, *pair]
        paid = jnp.asarray(self.models.reward)[:, *pair]
        possible = jnp.abs(paid - seen.reward) < SAME_REWARD
        chance = jnp.where(possible, rows[:, seen.next_state], 0)
        behind = state.behind - jnp.log(chance)
        behind = behind - behind.min()
        f = state.chosen
        apart = state.apart + _distances(rows, paid, rows[f][None], paid[f])
        visits = state.visits.at[pair].add(1)
        state = replace(state, behind=behind, visits=visits, apart=apart)
        most = self.trigger * jnp.sqrt(self.beta * visits.sum())
        impossible = ~jnp.isfinite(behind[f]) & ~state.empty
        return state, impossible | (apart[behind.argmin()] >= most)

    def plan(self, state: LikelihoodState) -> LikelihoodState:
        members = confidence_set(state.behind, self.admissible, self.beta)
        f = optimistic_choice(jnp.asarray(self.models.gain), members, state.behind)
        rows, paid = (
            jnp.asarray(self.models.transition),
            jnp.asarray(self.models.reward),
        )
        distances = _distances(rows, paid, rows[f][None], paid[f][None])
        apart = (state.visits[None] * distances).sum((1, 2))
        return replace(state, chosen=f, apart=apart, empty=~members.any())

    def describe(self, state: LikelihoodState) -> dict[str, Array]:
        members = confidence_set(state.behind, self.admissible, self.beta)
        return {
            "hypothesis": state.chosen,
            "optimistic_gain": jnp.asarray(self.models.gain)[state.chosen],
            "set_size": members.sum(),
            "empty": state.empty,
        }

    def covers(self, state: LikelihoodState, truth: Truth) -> Array:
        members = confidence_set(state.behind, self.admissible, self.beta)
        return (members & same_model(self.models, truth)).any()


def _distances(rows: Array, paid: Array, row: Array, pays: Array) -> Array:
    """TV of next state and reward together: 1 where the rewards differ."""
    differs = jnp.abs(paid - pays) >= SAME_REWARD
    return jnp.where(differs, 1.0, jnp.abs(rows - row).sum(-1) / 2)
