"""Finite classes of hypotheses: models with their optimal values, or values alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.average_reward.mdp import AverageRewardMDP
from sophia_jax.average_reward.solvers import solve
from sophia_jax.types import Array, Float, InputError

__all__ = ["ModelClass", "ValueClass", "model_class", "perturbed_models", "value_class"]


@dataclass(frozen=True, eq=False)
class ModelClass:
    """Hypotheses f -> (P_f, r_f), with (Q_f, J_f) optimal in them; NumPy float32.

    Attributes:
      transition: Float[hypothesis state action state].
      reward: Float[hypothesis state action].
      gain: J_f, Float[hypothesis].
      values: V_f, Float[hypothesis state], centered: max V_f = -min V_f.
      action_values: Q_f, Float[hypothesis state action].
    """

    transition: Float[Array, "hypothesis state action state"]
    reward: Float[Array, "hypothesis state action"]
    gain: Float[Array, " hypothesis"]
    values: Float[Array, "hypothesis state"]
    action_values: Float[Array, "hypothesis state action"]

    @property
    def span(self) -> Float[np.ndarray, " hypothesis"]:
        """sp(V_f) of each."""
        return np.ptp(self.values, axis=-1)


@dataclass(frozen=True, eq=False)
class ValueClass:
    """Hypotheses f -> (Q_f, J_f), and functions g that their errors are measured by.

    Attributes:
      action_values: Q_f, Float[hypothesis state action].
      gain: J_f, Float[hypothesis].
      auxiliary: Q_g, Float[auxiliary state action]. It is complete if it has the
        Bellman backup of each hypothesis: r + P V_f - J_f.
    """

    action_values: Float[Array, "hypothesis state action"]
    gain: Float[Array, " hypothesis"]
    auxiliary: Float[Array, "auxiliary state action"]

    @property
    def values(self) -> Float[np.ndarray, "hypothesis state"]:
        """V_f = max_a Q_f."""
        return self.action_values.max(-1)

    @property
    def span(self) -> Float[np.ndarray, " hypothesis"]:
        """sp(V_f) of each."""
        return np.ptp(self.values, axis=-1)


def model_class(models: Sequence[AverageRewardMDP]) -> ModelClass:
    """The class of some MDPs, each solved.

    Args:
      models: of the same states and actions; a run is covered if its MDP is among them.

    Raises:
      InputError: there are none, or their sizes differ, or one is multichain.
    """
    if not models:
        raise InputError("models: expected at least one, got none")
    sizes = {(model.num_states, model.num_actions) for model in models}
    if len(sizes) > 1:
        raise InputError(f"models: expected one size, got {sorted(sizes)}")
    solutions = [solve(model) for model in models]
    transition = np.stack([model.transition for model in models])
    reward = np.stack([model.reward for model in models])
    gain = np.array([solution.gain for solution in solutions])
    bias = np.stack([solution.bias for solution in solutions])
    values = bias - (bias.max(1) + bias.min(1))[:, None] / 2
    backup = reward + np.einsum("fsap,fp->fsa", transition, values)
    tables = (transition, reward, gain, values, backup - gain[:, None, None])
    return ModelClass(*(table.astype(np.float32) for table in tables))


def value_class(models: ModelClass) -> ValueClass:
    """The values of a class of models; complete where the truth is one of them.

    G has every Q_f, and the backup of every V_f in every model, which are N + N^2.
    """
    backup = models.reward[:, None] + np.einsum(
        "gsap,fp->gfsa", models.transition, models.values
    )
    backup = backup - models.gain[None, :, None, None]
    auxiliary = np.concatenate(
        [models.action_values, backup.reshape(-1, *backup.shape[2:])]
    )
    return ValueClass(models.action_values, models.gain, auxiliary)


def perturbed_models(
    seed: int, mdp: AverageRewardMDP, num_models: int, *, scale: float = 0.5
) -> list[AverageRewardMDP]:
    """An MDP among others that mix it with random ones, at a random place.

    Each has rows (1 - w) P + w P', with w uniform in [0, scale] and a row P' from a
    flat Dirichlet over the states that can follow, for every state and action of its
    own; and one reward in four is drawn anew from the range.

    Args:
      seed: of all that is random.
      num_models: how many there are, the given one included.
      scale: how far they may be, in [0, 1].
    """
    if num_models < 1:
        raise ValueError(f"num_models: expected >= 1, got {num_models}")
    if not 0 <= scale <= 1:
        raise ValueError(f"scale: expected in [0, 1], got {scale}")
    random = np.random.default_rng(seed)
    low, high = mdp.reward_range
    models = []
    for _ in range(num_models - 1):
        other = random.gamma(1.0, size=mdp.transition.shape) * (mdp.transition > 0)
        other = other / other.sum(-1, keepdims=True)
        weight = scale * random.random((*mdp.reward.shape, 1))
        drawn = random.uniform(low, high, mdp.reward.shape)
        anew = random.random(mdp.reward.shape) < scale / 4
        models.append(
            AverageRewardMDP(
                (1 - weight) * mdp.transition + weight * other,
                np.where(anew, drawn, mdp.reward),
                start=mdp.start,
                reward_range=mdp.reward_range,
            )
        )
    models.insert(int(random.integers(num_models)), mdp)
    return models
