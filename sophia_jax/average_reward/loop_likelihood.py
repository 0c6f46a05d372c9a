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

from sophia_jax.average_reward.agent import Agent, Transition
from sophia_jax.average_reward.finite_class import ModelLearner
from sophia_jax.average_reward.hypotheses import ModelClass
from sophia_jax.average_reward.loop import TRIGGER
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Bool, Float, Int

__all__ = ["likelihood_radius", "loop_likelihood"]

SAME_REWARD = 1e-5  # rewards are paid for certain: one that differs is impossible


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["excess", "visits", "chosen", "apart", "empty"],
    meta_fields=[],
)
@dataclass(frozen=True)
class LikelihoodState:
    """What the agent knows.

    Attributes:
      excess: max_g log p_g(D) - log p_f(D), Float[hypothesis]; inf of impossible ones.
      visits: Float[state action].
      chosen: f_t.
      apart: sum_i TV(f_t, g)(s_i, a_i), Float[hypothesis].
      empty: whether there was nothing in the confidence set.
    """

    excess: Float[Array, " hypothesis"]
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
    options = {"beta": beta, "span_bound": span_bound, "trigger": trigger}
    return _Learner.agent(name, models, **options)


class _Learner(ModelLearner):
    """The functions of the agent."""

    def init(self, key: Array, spec: Spec) -> LikelihoodState:
        shape = spec.shape_of(self.tables.reward.shape[1:])
        none = jnp.zeros(len(self.tables.gain))
        nothing = (none, jnp.zeros(shape), jnp.int32(0), none, jnp.bool_(False))
        return self.plan(LikelihoodState(*nothing))

    def observe(
        self, state: LikelihoodState, seen: Transition
    ) -> tuple[LikelihoodState, Array]:
        pair = (seen.state, seen.action)
        rows = jnp.asarray(self.tables.transition)[:, *pair]
        paid = jnp.asarray(self.tables.reward)[:, *pair]
        possible = jnp.abs(paid - seen.reward) < SAME_REWARD
        chance = jnp.where(possible, rows[:, seen.next_state], 0)
        excess = state.excess - jnp.log(chance)
        excess = excess - excess.min()
        f = state.chosen
        apart = state.apart + _distances(rows, paid, rows[f][None], paid[f])
        visits = state.visits.at[pair].add(1)
        state = replace(state, excess=excess, visits=visits, apart=apart)
        most = self.trigger * jnp.sqrt(self.beta * visits.sum())
        impossible = ~jnp.isfinite(excess[f]) & ~state.empty
        return state, impossible | (apart[excess.argmin()] >= most)

    def plan(self, state: LikelihoodState) -> LikelihoodState:
        f, members = self.choice(state.excess)
        rows = jnp.asarray(self.tables.transition)
        paid = jnp.asarray(self.tables.reward)
        distances = _distances(rows, paid, rows[f][None], paid[f][None])
        apart = (state.visits[None] * distances).sum((1, 2))
        return replace(state, chosen=f, apart=apart, empty=~members.any())


def _distances(rows: Array, paid: Array, row: Array, pays: Array) -> Array:
    """TV of next state and reward together: 1 where the rewards differ."""
    differs = jnp.abs(paid - pays) >= SAME_REWARD
    return jnp.where(differs, 1.0, jnp.abs(rows - row).sum(-1) / 2)
