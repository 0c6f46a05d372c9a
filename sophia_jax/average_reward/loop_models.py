"""Model-based LOOP on a finite class, where its maximization is a maximum."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Agent, Transition, Truth, agent_of
from sophia_jax.average_reward.hypotheses import ModelClass, ValueClass
from sophia_jax.average_reward.loop import (
    TRIGGER,
    check_options,
    confidence_set,
    optimistic_choice,
    switching_is_due,
)
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Bool, Float, Int

__all__ = ["admissible", "check_size", "loop_models", "same_model"]

SAME = 1e-4  # tables that differ by less are those of one hypothesis


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["excess", "chosen", "predictions", "empty"],
    meta_fields=[],
)
@dataclass(frozen=True)
class ModelState:
    """What model-based LOOP knows.

    Attributes:
      excess: L_D(f) - min_g L_D(g), Float[hypothesis]. The rest never matters, and
        would cost it its digits.
      chosen: f_t.
      predictions: r_g + P_g V_{f_t}, Float[state action hypothesis].
      empty: whether there was nothing in the confidence set.
    """

    excess: Float[Array, " hypothesis"]
    chosen: Int[Array, ""]
    predictions: Float[Array, "state action hypothesis"]
    empty: Bool[Array, ""]


def loop_models(
    models: ModelClass,
    *,
    beta: float,
    span_bound: float,
    trigger: float = TRIGGER,
    name: str = "LOOP (models)",
) -> Agent:
    """Model-based LOOP: hypotheses predict what the next state is worth.

        l_{f_i}(g, zeta) = (r_g + P_g V_{f_i})(s, a) - r - V_{f_i}(s')

    where f_i was in force when zeta was seen [recalled; the sign is derived: it has
    mean 0 at the truth]. It depends on g alone, so L_D(f, f) = L_D(f), and all of the
    class, also what is not admissible, serves as the auxiliary class.

    Args:
      models: the class.
      beta: see `confidence_radius`, with log N of the class.
      span_bound: sp(V*); hypotheses of a larger one are not believed.
      trigger: of how many beta the policy is given up.
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

    def init(self, key: Array, spec: Spec) -> ModelState:
        check_size((spec.num_states, spec.num_actions), self.models.reward.shape[1:])
        excess = jnp.zeros(len(self.models.gain))
        predictions = jnp.zeros((spec.num_states, spec.num_actions, len(excess)))
        nothing = ModelState(excess, jnp.int32(0), predictions, jnp.bool_(False))
        return self.plan(nothing)

    def act(self, key: Array, state: ModelState, observation: Array) -> Array:
        policies = jnp.asarray(self.models.action_values.argmax(-1), jnp.int32)
        return policies[state.chosen, observation]

    def observe(self, state: ModelState, seen: Transition) -> tuple[ModelState, Array]:
        values = jnp.asarray(self.models.values)
        outcome = seen.reward + values[state.chosen, seen.next_state]
        errors = state.predictions[seen.state, seen.action] - outcome
        loss = state.excess + errors**2
        excess = loss - loss.min()
        due = switching_is_due(excess[state.chosen], self.beta, self.trigger)
        return ModelState(excess, state.chosen, state.predictions, state.empty), due

    def plan(self, state: ModelState) -> ModelState:
        members = confidence_set(state.excess, self.admissible, self.beta)
        gain = jnp.asarray(self.models.gain)
        chosen = optimistic_choice(gain, members, state.excess)
        values = jnp.asarray(self.models.values)[chosen]
        expected = jnp.einsum("fsap,p->saf", self.models.transition, values)
        predictions = jnp.moveaxis(jnp.asarray(self.models.reward), 0, -1) + expected
        return ModelState(state.excess, chosen, predictions, ~members.any())

    def describe(self, state: ModelState) -> dict[str, Array]:
        members = confidence_set(state.excess, self.admissible, self.beta)
        return {
            "hypothesis": state.chosen,
            "optimistic_gain": jnp.asarray(self.models.gain)[state.chosen],
            "set_size": members.sum(),
            "empty": state.empty,
        }

    def covers(self, state: ModelState, truth: Truth) -> Array:
        members = confidence_set(state.excess, self.admissible, self.beta)
        return (members & same_model(self.models, truth)).any()


def same_model(models: ModelClass, truth: Truth) -> Bool[Array, " hypothesis"]:
    """Which hypotheses are the truth."""
    moves = jnp.abs(models.transition - truth.transition[None]).max((1, 2, 3))
    pays = jnp.abs(models.reward - truth.reward[None]).max((1, 2))
    return (moves < SAME) & (pays < SAME)


def admissible(hypotheses: ModelClass | ValueClass, span_bound: float) -> Array:
    """Which hypotheses have sp(V_f) <= sp(V*), within float32."""
    spans = hypotheses.span
    within = spans <= span_bound * (1 + 1e-5) + 1e-6
    if not within.any():
        rule = f"at least the smallest span of the class, {float(spans.min()):.6g}"
        raise ValueError(f"span_bound: expected {rule}, got {span_bound:.6g}")
    return jnp.asarray(np.asarray(within))


def check_size(spec: tuple[int, ...], hypotheses: tuple[int, ...]) -> None:
    """Refuse an MDP of another size than the hypotheses'."""
    if tuple(spec) != tuple(hypotheses):
        rule = f"{tuple(hypotheses)} states and actions, as the hypotheses have"
        raise ValueError(f"spec: expected {rule}, got {tuple(spec)}")
