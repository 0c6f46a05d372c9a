"""The MDPs that agents are compared in, and what is known of each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sophia_jax import average_reward as ar

__all__ = ["BEDS", "Bed", "bed_of", "make_bed"]

BEDS: dict[str, Callable[[], ar.AverageRewardMDP]] = {
    "riverswim-6": ar.river_swim,
    "riverswim-12": lambda: ar.river_swim(12),
    "linear-mixture": ar.linear_mixture,
    "random-ergodic": lambda: ar.random_ergodic(0),
    "access-control": ar.access_control,
    "gridworld": ar.gridworld,
    "inventory": ar.inventory,
}
MODELS, VALUES = 100, 20  # hypotheses of a finite class; of one by values N + N^2


@dataclass(frozen=True, eq=False)
class Bed:
    """An MDP with what agents may be told of it.

    Attributes:
      name: by which it is told.
      mdp: itself.
      span: sp(V*), which optimistic agents are told.
      gain: J*.
    """

    name: str
    mdp: ar.AverageRewardMDP
    span: float
    gain: float

    @property
    def features(self) -> np.ndarray:
        """phi(s, a): the bed's own, or one of each pair, which fits every MDP."""
        if self.mdp.features is not None:
            return self.mdp.features
        states, actions = self.mdp.num_states, self.mdp.num_actions
        return np.eye(states * actions).reshape(states, actions, -1)

    @functools.cached_property
    def models(self) -> ar.ModelClass:
        """The truth among so many others that mix it with random ones."""
        return self._class(MODELS)

    @functools.cached_property
    def values(self) -> ar.ValueClass:
        """The values of a smaller class: its functions are N + N^2."""
        return ar.value_class(self._class(VALUES))

    def _class(self, num_models: int) -> ar.ModelClass:
        models = ar.perturbed_models(0, self.mdp, num_models, scale=1.0)
        return ar.model_class(models)


@functools.cache
def make_bed(name: str) -> Bed:
    """A bed by its name in `BEDS`, solved."""
    return bed_of(name, BEDS[name]())


def bed_of(name: str, mdp: ar.AverageRewardMDP) -> Bed:
    """Any MDP as a bed."""
    solution = ar.solve(mdp)
    return Bed(name, mdp, float(solution.span), float(solution.gain))
