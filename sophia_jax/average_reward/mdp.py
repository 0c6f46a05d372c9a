"""Average-reward MDPs with finitely many states and actions, checked when made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sophia_jax.types import Array, Float, InputError

__all__ = ["AverageRewardMDP", "Spec", "check_spans"]

ROW_TOLERANCE = 1e-6  # of a sum of probabilities: what float32 tables can keep
FEATURE_TOLERANCE = 1e-6  # of what a linear model leaves unexplained


@dataclass(frozen=True)
class Spec:
    """What an agent is told of the MDP that it will act in.

    Attributes:
      num_states: observations are integers below it.
      num_actions: likewise of actions.
    """

    num_states: int
    num_actions: int

    def shape_of(self, tables: tuple[int, ...]) -> tuple[int, int]:
        """States and actions, if an agent's tables have as many.

        Args:
          tables: their first two axes.

        Raises:
          ValueError: they are of another MDP.
        """
        shape = (self.num_states, self.num_actions)
        if shape != tuple(tables):
            rule = f"{tuple(tables)} states and actions, as the agent's tables have"
            raise ValueError(f"spec: expected {rule}, got {shape}")
        return shape


@dataclass(frozen=True, eq=False)
class AverageRewardMDP:
    """A Markov decision process that never ends, judged by its reward per step.

    Tables are held as NumPy float64 and cannot be written to. Where `features` or
    `mixture_features` are given, the tables have to be linear in them.

    Attributes:
      transition: P(s' | s, a), Float[state action state]; rows sum to one within 1e-6
        and are divided by their sum.
      reward: r(s, a), Float[state action], paid for certain.
      features: phi(s, a) of a linear MDP, Float[state action dim], or None:
        r = <phi, theta> and P = <phi, mu(s')>.
      mixture_features: phi(s, a, s') of a linear mixture, or None: P = <phi, theta>;
        Float[state action state dim].
      mixture_weights: that theta, Float[dim], or None.
      start: the state of the first step.
      reward_range: the smallest and the largest reward that can be; agents rely on it.

    Raises:
      InputError: shapes that do not fit, rows that are no distributions, rewards
        outside of the range, features in which the tables are not linear.
    """

    transition: Float[Array, "state action state"]
    reward: Float[Array, "state action"]
    features: Float[Array, "state action dim"] | None = None
    mixture_features: Float[Array, "state action state dim"] | None = None
    mixture_weights: Float[Array, " dim"] | None = None
    start: int = 0
    reward_range: tuple[float, float] = field(default=(0.0, 1.0))

    def __post_init__(self) -> None:
        transition = _table("transition", self.transition, 3)
        reward = _table("reward", self.reward, 2)
        _check_shapes(transition, reward)
        object.__setattr__(self, "transition", _frozen(_stochastic(transition)))
        object.__setattr__(self, "reward", _frozen(reward))
        _check_rewards(reward, self.reward_range)
        if not 0 <= self.start < self.num_states:
            rule = f"a state below {self.num_states}"
            raise InputError(f"start: expected {rule}, got {self.start}")
        self._set_features()

    def _set_features(self) -> None:
        for name, axes in (
            ("features", 3),
            ("mixture_features", 4),
            ("mixture_weights", 1),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _frozen(_table(name, value, axes)))
        if self.features is not None:
            check_spans(self.features, self.transition, self.reward)
        _check_mixture(self.transition, self.mixture_features, self.mixture_weights)

    @property
    def num_states(self) -> int:
        return self.transition.shape[0]

    @property
    def num_actions(self) -> int:
        return self.transition.shape[1]

    @property
    def spec(self) -> Spec:
        return Spec(self.num_states, self.num_actions)


def _table(name: str, value: Array, axes: int) -> np.ndarray:
    table = np.array(value, np.float64)
    if table.ndim != axes or table.size == 0:
        rule = f"a table of {axes} axes that is not empty"
        raise InputError(f"{name}: expected {rule}, got shape {table.shape}")
    if not np.isfinite(table).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(table))[0])
        raise InputError(f"{name}{list(where)}: expected a finite number, got nan")
    return table


def _frozen(table: np.ndarray) -> np.ndarray:
    table.setflags(write=False)
    return table


def _check_shapes(transition: np.ndarray, reward: np.ndarray) -> None:
    states, actions, successors = transition.shape
    if states != successors:
        raise InputError(
            f"transition: expected [state action state], got shape {transition.shape}"
        )
    if reward.shape != (states, actions):
        rule = f"shape {(states, actions)}, as transition has it"
        raise InputError(f"reward: expected {rule}, got {reward.shape}")


def _stochastic(transition: np.ndarray) -> np.ndarray:
    """The same table, with rows that sum to one as exactly as float64 can."""
    if (transition < 0).any():
        where = tuple(int(i) for i in np.argwhere(transition < 0)[0])
        value = transition[where]
        raise InputError(f"transition{list(where)}: expected >= 0, got {value:.6g}")
    total = transition.sum(-1)
    off = np.abs(total - 1) > ROW_TOLERANCE
    if off.any():
        state, action = (int(i) for i in np.argwhere(off)[0])
        raise InputError(
            f"transition[{state}, {action}]: expected a row that sums to 1, got "
            f"{total[state, action]:.9g} ({int(off.sum())} such rows)"
        )
    return transition / total[..., None]


def _check_rewards(reward: np.ndarray, reward_range: tuple[float, float]) -> None:
    low, high = reward_range
    if not low < high:
        rule = "the smallest and the largest reward, in that order"
        raise InputError(f"reward_range: expected {rule}, got {reward_range}")
    outside = (reward < low) | (reward > high)
    if outside.any():
        state, action = (int(i) for i in np.argwhere(outside)[0])
        raise InputError(
            f"reward[{state}, {action}]: expected in [{low:g}, {high:g}], got "
            f"{reward[state, action]:.6g}"
        )


def check_spans(features: np.ndarray, transition: np.ndarray, reward: np.ndarray):
    """Refuse features in which rewards and transitions are not linear.

    Args:
      features: phi(s, a), [state action dim].
      transition, reward: the tables that <phi, mu(s')> and <phi, theta> have to give.

    Raises:
      InputError: what least squares leaves of them, where that is more than 1e-6.
    """
    if features.shape[:2] != reward.shape:
        rule = f"[state action dim] with {reward.shape}"
        raise InputError(f"features: expected {rule}, got shape {features.shape}")
    design = features.reshape(-1, features.shape[-1])
    targets = np.concatenate([transition, reward[..., None]], -1)
    targets = targets.reshape(len(design), -1)
    weights = np.linalg.lstsq(design, targets, rcond=None)[0]
    left = np.abs(design @ weights - targets).max()
    if left > FEATURE_TOLERANCE:
        raise InputError(
            "features: expected rewards and transitions to be linear in them, got "
            f"a residual of {left:.3g}"
        )


def _check_mixture(
    transition: np.ndarray, features: np.ndarray | None, weights: np.ndarray | None
) -> None:
    if (features is None) != (weights is None):
        missing = "mixture_weights" if weights is None else "mixture_features"
        raise InputError(f"{missing}: expected beside the other half, got None")
    if features is None or weights is None:
        return
    if features.shape != (*transition.shape, *weights.shape):
        rule = f"shape {(*transition.shape, *weights.shape)}"
        raise InputError(f"mixture_features: expected {rule}, got {features.shape}")
    left = np.abs(features @ weights - transition).max()
    if left > FEATURE_TOLERANCE:
        raise InputError(
            "mixture_weights: expected <phi(s, a, s'), theta> to be the transition, "
            f"got a difference of {left:.3g}"
        )
