"""Value-based LOOP on a finite class, where its maximization is a maximum."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Agent, Transition, Truth
from sophia_jax.average_reward.finite_class import FiniteLearner
from sophia_jax.average_reward.hypotheses import ValueClass
from sophia_jax.average_reward.loop import TRIGGER, switching_is_due
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Bool, Float, Int

__all__ = ["loop_values"]

SAME = 1e-3  # values that differ by less are those of one hypothesis


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["counts", "paid", "chosen", "against", "empty", "set_size"],
    meta_fields=[],
)
@dataclass(frozen=True)
class ValueState:
    """What value-based LOOP knows.

    Attributes:
      counts: how often s' followed (s, a), Float[state action state].
      paid: the sum of rewards there, Float[state action].
      chosen: f_t.
      against: L_D(f_t, f_t) - L_D(f_t, g), Float[auxiliary].
      empty: whether there was nothing in the confidence set.
      set_size: how many hypotheses were.
    """

    counts: Float[Array, "state action state"]
    paid: Float[Array, "state action"]
    chosen: Int[Array, ""]
    against: Float[Array, " auxiliary"]
    empty: Bool[Array, ""]
    set_size: Int[Array, ""]


def loop_values(
    values: ValueClass,
    *,
    beta: float,
    span_bound: float,
    trigger: float = TRIGGER,
    name: str = "LOOP (values)",
) -> Agent:
    """Value-based LOOP: hypotheses are judged by their Bellman errors.

        l(f, g, zeta) = Q_g(s, a) - r - V_f(s') + J_f

    [recalled]. Counts of what followed what tell all losses: for y = r + V_f(s') - J_f,
    with mean m over what was seen at a pair,

        L_D(f, f) - L_D(f, g) = sum_{s, a} n (Q_f - Q_g) (Q_f + Q_g - 2 m)

    [derived], without the noise, which is in both.

    Args:
      values: the class, with its auxiliary functions.
      beta: see `confidence_radius`, with log N of both.
      span_bound: sp(V*); hypotheses of a larger one are not believed.
      trigger: of how many beta the policy is given up.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range, or no hypothesis within the span bound.
    """
    options = {"beta": beta, "span_bound": span_bound, "trigger": trigger}
    return _Learner.agent(name, values, **options)


class _Learner(FiniteLearner):
    """The functions of the agent."""

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Q_f, V_f, J_f and Q_g."""
        tables = self.tables
        arrays = (tables.action_values, tables.values, tables.gain, tables.auxiliary)
        return tuple(jnp.asarray(array) for array in arrays)

    def init(self, key: Array, spec: Spec) -> ValueState:
        shape = spec.shape_of(self.tables.action_values.shape[1:])
        counts = jnp.zeros((*shape, spec.num_states))
        against = jnp.zeros(len(self.tables.auxiliary))
        nothing = (jnp.int32(0), against, jnp.bool_(False), jnp.int32(0))
        return self.plan(ValueState(counts, jnp.zeros(shape), *nothing))

    def observe(self, state: ValueState, seen: Transition) -> tuple[ValueState, Array]:
        q, v, gain, auxiliary = self.arrays
        f, pair = state.chosen, (seen.state, seen.action)
        target = seen.reward + v[f, seen.next_state] - gain[f]
        mine, theirs = q[f][pair], auxiliary[(slice(None), *pair)]
        against = state.against + (mine - theirs) * (mine + theirs - 2 * target)
        counts = state.counts.at[(*pair, seen.next_state)].add(1)
        paid = state.paid.at[pair].add(seen.reward)
        due = switching_is_due(against.max(), self.beta, self.trigger)
        return replace(state, counts=counts, paid=paid, against=against), due

    def plan(self, state: ValueState) -> ValueState:
        chosen, members = self.choice(self._excess(state))
        return replace(
            state,
            chosen=chosen,
            against=self._against(state, chosen),
            empty=~members.any(),
            set_size=members.sum(),
        )

    def describe(self, state: ValueState) -> dict[str, Array]:
        return self.told(state, state.set_size)

    def covers(self, state: ValueState, truth: Truth) -> Array:
        q, _, gain, _ = self.arrays
        members = self.members(self._excess(state))
        right = truth.reward + truth.transition @ truth.bias - truth.gain
        gap = q - right[None]
        same = gap.max((1, 2)) - gap.min((1, 2)) < SAME  # but for their level
        return (members & same & (jnp.abs(gain - truth.gain) < SAME)).any()

    def _against(self, state: ValueState, f: Array) -> Float[Array, " auxiliary"]:
        """L_D(f, f) - L_D(f, g) of all g."""
        q, v, gain, auxiliary = self.arrays
        count = state.counts.sum(-1)
        target = state.paid + state.counts @ v[f] - count * gain[f]
        twice = count[None] * (q[f][None] + auxiliary) - 2 * target[None]
        return ((q[f][None] - auxiliary) * twice).sum((1, 2))

    def _excess(self, state: ValueState) -> Float[Array, " hypothesis"]:
        """L_D(f, f) - inf_g L_D(f, g) of all f, one after the other."""
        hypotheses = jnp.arange(len(self.tables.gain))
        return jax.lax.map(lambda f: self._against(state, f).max(), hypotheses)
