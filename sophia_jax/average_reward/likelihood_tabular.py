"""LOOP by likelihood on tables: rows within a relative entropy of what was seen."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Agent, Transition, Truth, agent_of
from sophia_jax.average_reward.counts import Counts, counted, no_counts
from sophia_jax.average_reward.loop import TRIGGER, check_options
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.average_reward.planning import Plan, value_iteration
from sophia_jax.types import Array, Float

__all__ = ["likeliest_best_row", "loop_likelihood_tabular", "row_radius"]

HALVINGS = 40  # of the interval in which the multiplier's logarithm lies


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["counts", "plan", "rows"],
    meta_fields=[],
)
@dataclass(frozen=True)
class RowState:
    """Counts, the plan, and the rows P_{f_t} that it believes, [state action state]."""

    counts: Counts
    plan: Plan
    rows: Float[Array, "state action state"]


def likeliest_best_row(
    frequencies: Float[Array, "*pair state"],
    radius: Float[Array, "*pair"],
    values: Float[Array, " state"],
) -> Float[Array, "*pair state"]:
    """argmax <p, V> over the rows with KL(p_hat || p) <= radius.

        p ~ p_hat / (nu - V)
        sum p_hat log(nu - V) + log sum p_hat / (nu - V) = radius

    and where the best states were never seen, what is left of the radius at
    nu = max V is put on them.

    Args:
      frequencies: p_hat.
      radius: in nats, > 0.
      values: V.

    Reference:
      Filippi, Cappe, Garivier, 2010, https://arxiv.org/abs/1004.5229 (KL-UCRL).
    """
    top, spread = values.max(), jnp.maximum(values.max() - values.min(), 1e-6)
    depth = jnp.broadcast_to(
        (top - values) / spread, frequencies.shape
    )  # 0 at the best

    def shares(gap: Array) -> tuple[Array, Array]:
        weights = frequencies / (gap[..., None] + depth)
        total = weights.sum(-1)
        # In units of the mean, so that both logarithms are small when the gap is large.
        mean = gap + (frequencies * depth).sum(-1)
        scaled = (gap[..., None] + depth) / mean[..., None]
        entropy = (frequencies * jnp.log(scaled)).sum(-1) + jnp.log(total * mean)
        return weights / total[..., None], entropy

    def halve(_: int, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = (low + high) / 2
        too_far = shares(jnp.exp(middle))[1] > radius
        return jnp.where(too_far, middle, low), jnp.where(too_far, high, middle)

    ends = (jnp.full(radius.shape, -16.0), jnp.full(radius.shape, 12.0))
    gap = jnp.exp(jax.lax.fori_loop(0, HALVINGS, halve, ends)[1])
    row, entropy = shares(gap)
    kept = jnp.minimum(jnp.exp(entropy - radius), 1)[..., None]
    best = (depth == 0) / (depth == 0).sum(-1, keepdims=True)
    unseen = (frequencies * (depth == 0)).sum(-1, keepdims=True) == 0
    return jnp.where(unseen, kept * row + (1 - kept) * best, row)


def row_radius(
    num_steps: int, num_states: int, num_actions: int, *, delta: float = 0.05
) -> float:
    """beta of `loop_likelihood_tabular`, in nats, for all pairs at all times.

        beta = log(S A / delta) + (S - 1) log(e (1 + T / (S - 1)))

    Raises:
      ValueError: an argument out of range.

    Reference:
      Jonsson et al., Planning in Markov decision processes with gap-dependent sample
      complexity, 2020, https://arxiv.org/abs/2006.05879, proposition 1 [recalled].
    """
    sizes = {
        "num_steps": num_steps,
        "num_states": num_states,
        "num_actions": num_actions,
    }
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name}: expected >= 1, got {value}")
    if not 0 < delta < 1:
        raise ValueError(f"delta: expected in (0, 1), got {delta}")
    others = max(num_states - 1, 1)
    of_rows = others * (1 + math.log1p(num_steps / others))
    return math.log(num_states * num_actions / delta) + of_rows


def loop_likelihood_tabular(
    *,
    beta: float,
    span_bound: float,
    trigger: float = TRIGGER,
    tolerance: float = 1e-3,
    name: str = "LOOP (likelihood, tabular)",
) -> Agent:
    """LOOP by likelihood, of all rows: n KL(p_hat || p) <= beta at each pair.

    The set of the likelihood ratio is that of the sum over the pairs; letting each have
    all of beta is a relaxation [derived]. Planning is extended value iteration. A
    reward is believed to be 1 until it is paid; one that is less is a reason to plan.

    The set, of each pair's own hypotheses, never becomes empty; a span bound that is
    too small is told, where it can be, by what is earned: see `contradicted`.

    Args:
      beta: radius, in nats; see `row_radius`.
      span_bound: sp(V*), at which V is clipped.
      trigger: of how many sqrt(beta t) the policy is given up.
      tolerance: of value iteration, on the gain.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range.
    """
    check_options(beta=beta, trigger=trigger, span_bound=span_bound)
    return agent_of(
        name,
        _Learner(beta, float(span_bound), trigger, tolerance),
        span_bound=span_bound,
    )


@dataclass(frozen=True, eq=False)
class _Learner:
    """The functions of the agent."""

    beta: float
    span_bound: float
    trigger: float
    tolerance: float

    def init(self, key: Array, spec: Spec) -> RowState:
        counts, values = no_counts(spec), jnp.zeros(spec.num_states)
        nothing = (values, values.astype(jnp.int32), values[0], jnp.int32(0))
        plan = Plan(counts.paid, *nothing)
        return self.plan(RowState(counts, plan, counts.followed))

    def act(self, key: Array, state: RowState, observation: Array) -> Array:
        return state.plan.policy[observation]

    def observe(self, state: RowState, seen: Transition) -> tuple[RowState, Array]:
        pair = (seen.state, seen.action)
        surprised = (state.counts.visits[pair] == 0) & (seen.reward < 1)
        counts, _ = counted(state.counts, seen)
        distance = jnp.abs(counts.frequencies - state.rows).sum(-1) / 2
        apart = (counts.visits * distance).sum()
        most = self.trigger * jnp.sqrt(self.beta * counts.visits.sum())
        return replace(state, counts=counts), surprised | (apart >= most)

    def plan(self, state: RowState) -> RowState:
        counts = state.counts
        reward = jnp.where(counts.visits > 0, counts.mean_reward, 1.0)
        radius = self.beta / jnp.maximum(counts.visits, 1)
        frequencies = counts.frequencies

        def backup(values: Array) -> Array:
            return reward + likeliest_best_row(frequencies, radius, values) @ values

        plan = value_iteration(
            backup,
            state.plan.values,
            span_bound=self.span_bound,
            tolerance=self.tolerance,
            max_iterations=2000,
        )
        rows = likeliest_best_row(frequencies, radius, plan.values)
        return RowState(counts, plan, rows)

    def describe(self, state: RowState) -> dict[str, Array]:
        return {
            "optimistic_gain": state.plan.gain,
            "num_iterations": state.plan.num_iterations,
        }

    def covers(self, state: RowState, truth: Truth) -> Array:
        """Whether each row is within its relative entropy, and rewards are right."""
        shares = state.counts.frequencies
        ratio = jnp.where(shares > 0, shares / truth.transition, 1)
        entropy = (shares * jnp.log(ratio)).sum(-1)
        visits = state.counts.visits
        return jnp.where(visits > 0, visits * entropy <= self.beta, True).all()
