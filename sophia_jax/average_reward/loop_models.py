"""Model-based LOOP on a finite class, where its maximization is a maximum."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.average_reward.agent import Agent, Transition
from sophia_jax.average_reward.finite_class import ModelLearner
from sophia_jax.average_reward.hypotheses import ModelClass
from sophia_jax.average_reward.loop import TRIGGER, switching_is_due
from sophia_jax.average_reward.mdp import Spec
from sophia_jax.types import Array, Bool, Float, Int

__all__ = ["loop_models"]


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
    options = {"beta": beta, "span_bound": span_bound, "trigger": trigger}
    return _Learner.agent(name, models, **options)


class _Learner(ModelLearner):
    """The functions of the agent."""

    def init(self, key: Array, spec: Spec) -> ModelState:
        shape = spec.shape_of(self.tables.reward.shape[1:])
        excess = jnp.zeros(len(self.tables.gain))
        predictions = jnp.zeros((*shape, len(excess)))
        nothing = ModelState(excess, jnp.int32(0), predictions, jnp.bool_(False))
        return self.plan(nothing)

    def observe(self, state: ModelState, seen: Transition) -> tuple[ModelState, Array]:
        values = jnp.asarray(self.tables.values)
        outcome = seen.reward + values[state.chosen, seen.next_state]
        errors = state.predictions[seen.state, seen.action] - outcome
        loss = state.excess + errors**2
        excess = loss - loss.min()
        due = switching_is_due(excess[state.chosen], self.beta, self.trigger)
        return ModelState(excess, state.chosen, state.predictions, state.empty), due

    def plan(self, state: ModelState) -> ModelState:
        chosen, members = self.choice(state.excess)
        values = jnp.asarray(self.tables.values)[chosen]
        expected = jnp.einsum("fsap,p->saf", self.tables.transition, values)
        predictions = jnp.moveaxis(jnp.asarray(self.tables.reward), 0, -1) + expected
        return ModelState(state.excess, chosen, predictions, ~members.any())
