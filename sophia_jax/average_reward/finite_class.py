"""What agents on a finite class share: its tables, its set, and the best of the set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Agent, Truth, agent_of
from sophia_jax.average_reward.hypotheses import ModelClass, ValueClass
from sophia_jax.average_reward.loop import (
    check_options,
    confidence_set,
    optimistic_choice,
)
from sophia_jax.types import Array, Bool, Float

__all__ = ["FiniteLearner", "ModelLearner"]

SAME = 1e-4  # tables that differ by less are those of one hypothesis


@dataclass(frozen=True, eq=False)
class FiniteLearner:
    """The functions of an agent about its tables; what it learns is its own.

    States have `chosen`, the hypothesis in force, and `empty`: whether there was
    nothing in the confidence set.

    Attributes:
      tables: the class.
      admissible: which hypotheses have sp(V_f) <= sp(V*), Bool[hypothesis].
      beta: radius of the confidence set.
      trigger: of how much of it a policy is given up.
    """

    tables: ModelClass | ValueClass
    admissible: Array
    beta: float
    trigger: float

    @classmethod
    def agent(
        cls: type[Self],
        name: str,
        tables: ModelClass | ValueClass,
        *,
        beta: float,
        span_bound: float,
        trigger: float,
    ) -> Agent:
        """The agent of this kind with a class.

        Raises:
          ValueError: an option out of range, or no hypothesis within the span bound.
        """
        check_options(beta=beta, trigger=trigger, span_bound=span_bound)
        learner = cls(tables, _within(tables, span_bound), beta, trigger)
        return agent_of(name, learner, span_bound=span_bound)

    def act(self, key: Array, state: Any, observation: Array) -> Array:
        policies = jnp.asarray(self.tables.action_values.argmax(-1), jnp.int32)
        return policies[state.chosen, observation]

    def members(self, excess: Float[Array, " hypothesis"]) -> Array:
        """B_t."""
        return confidence_set(excess, self.admissible, self.beta)

    def choice(self, excess: Float[Array, " hypothesis"]) -> tuple[Array, Array]:
        """f_t, and B_t."""
        members = self.members(excess)
        gain = jnp.asarray(self.tables.gain)
        return optimistic_choice(gain, members, excess), members

    def told(self, state: Any, set_size: Array) -> dict[str, Array]:
        """What `describe` says of the policy in force."""
        return {
            "hypothesis": state.chosen,
            "optimistic_gain": jnp.asarray(self.tables.gain)[state.chosen],
            "set_size": set_size,
            "empty": state.empty,
        }


@dataclass(frozen=True, eq=False)
class ModelLearner(FiniteLearner):
    """That of models: states have `excess`, by which each is believed or not."""

    def describe(self, state: Any) -> dict[str, Array]:
        return self.told(state, self.members(state.excess).sum())

    def covers(self, state: Any, truth: Truth) -> Array:
        return (self.members(state.excess) & self._right(truth)).any()

    def _right(self, truth: Truth) -> Bool[Array, " hypothesis"]:
        """Which hypotheses are the truth."""
        moves = jnp.abs(self.tables.transition - truth.transition[None]).max((1, 2, 3))
        pays = jnp.abs(self.tables.reward - truth.reward[None]).max((1, 2))
        return (moves < SAME) & (pays < SAME)


def _within(tables: ModelClass | ValueClass, span_bound: float) -> Array:
    """Which hypotheses have sp(V_f) <= sp(V*), within float32."""
    spans = tables.span
    within = spans <= span_bound * (1 + 1e-5) + 1e-6
    if not within.any():
        rule = f"at least the smallest span of the class, {float(spans.min()):.6g}"
        raise ValueError(f"span_bound: expected {rule}, got {span_bound:.6g}")
    return jnp.asarray(np.asarray(within))
