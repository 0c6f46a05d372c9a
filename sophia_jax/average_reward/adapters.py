"""Gymnasium's environments with tables, as MDPs that never end."""

from __future__ import annotations

from typing import Any

import numpy as np

from sophia_jax.average_reward.mdp import AverageRewardMDP
from sophia_jax.types import InputError

__all__ = ["from_gymnasium"]


def from_gymnasium(environment: Any) -> AverageRewardMDP:
    """The MDP of an environment that states its own tables (those of "toy text").

    Where an episode would end the next one begins: the move that ends it leads to the
    start's distribution. What truncates episodes after a number of steps is left out.
    Rewards are brought into [0, 1] by a linear map, which changes no best policy.

    Args:
      environment: what `gymnasium.make` returns; its innermost environment has `P`
        (`P[state][action]` is a list of (probability, next state, reward, terminated))
        and `initial_state_distrib`. The library itself is not imported.

    Returns:
      The MDP; its start is the likeliest first state.

    Raises:
      InputError: the environment has no such tables.

    Reference:
      https://gymnasium.farama.org/environments/toy_text
    """
    inner = getattr(environment, "unwrapped", environment)
    table = getattr(inner, "P", None)
    begins = getattr(inner, "initial_state_distrib", None)
    if table is None or begins is None:
        missing = "P" if table is None else "initial_state_distrib"
        rule = f"an environment with a table {missing}"
        raise InputError(f"environment: expected {rule}, got {type(inner).__name__}")
    begins = np.asarray(begins, np.float64)
    begins = begins / begins.sum()
    transition, reward = _read(table, begins)
    low, high = reward.min(), reward.max()
    if low == high:
        raise InputError(f"environment: expected rewards that differ, got all {low:g}")
    return AverageRewardMDP(
        transition, (reward - low) / (high - low), start=int(begins.argmax())
    )


def _read(table: Any, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transitions and expected rewards, episodes being joined."""
    states, actions = len(begins), len(table[0])
    transition = np.zeros((states, actions, states))
    reward = np.zeros((states, actions))
    for state, action in np.ndindex(states, actions):
        for chance, successor, paid, ends in table[state][action]:
            reward[state, action] += chance * paid
            if ends:
                transition[state, action] += chance * begins
            else:
                transition[state, action, successor] += chance
    return transition, reward
