"""Markov chains, and what the policies of an MDP can do to reach one another."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.sparse.csgraph import connected_components

from sophia_jax.average_reward.mdp import AverageRewardMDP
from sophia_jax.types import Array, Float, InputError, Int, typed

__all__ = [
    "chain_of",
    "classify",
    "diameter",
    "limiting_matrix",
    "require_weakly_communicating",
    "span",
    "stationary_distribution",
]

Kind = Literal["communicating", "weakly communicating", "multichain"]


def span(values: Array) -> float:
    """sp(v) = max v - min v: the size of a bias, which has no level of its own."""
    return float(np.max(values) - np.min(values))


def chain_of(
    mdp: AverageRewardMDP, policy: Int[Array, " state"]
) -> tuple[np.ndarray, np.ndarray]:
    """The Markov chain [state state] and the rewards [state] under a policy."""
    states = np.arange(mdp.num_states)
    return mdp.transition[states, policy], mdp.reward[states, policy]


def closed_classes(chain: np.ndarray) -> list[np.ndarray]:
    """The sets of states that a chain, or a graph of moves, enters and never leaves."""
    reachable = chain > 0
    count, label = connected_components(reachable, directed=True, connection="strong")
    source, target = np.nonzero(reachable)
    open_ = np.unique(label[source[label[source] != label[target]]])
    return [np.flatnonzero(label == i) for i in range(count) if i not in open_]


@typed
def stationary_distribution(
    chain: Float[np.ndarray, "state state"],
) -> Float[np.ndarray, " state"]:
    """The distribution mu that a chain with one closed class keeps: mu P = mu.

    Args:
      chain: P(s' | s) of one policy; rows sum to one. It may be periodic.

    Returns:
      The share of all time that is spent in each state; 0 in transient ones.

    Raises:
      InputError: the chain has several closed classes, so that it depends on the start.
    """
    classes = closed_classes(chain)
    if len(classes) > 1:
        rule = "a chain with one closed class"
        raise InputError(f"chain: expected {rule}, got {len(classes)}")
    return _stationary_in(chain, classes[0])


def _stationary_in(chain: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The stationary distribution of one closed class, by one exact solve."""
    inside = chain[np.ix_(members, members)]
    system = np.eye(len(members)) - inside.T
    system[-1] = 1
    ends = np.zeros(len(members))
    ends[-1] = 1
    result = np.zeros(len(chain))
    result[members] = np.clip(np.linalg.solve(system, ends), 0, None)
    return result / result.sum()


@typed
def limiting_matrix(
    chain: Float[np.ndarray, "state state"],
) -> Float[np.ndarray, "state state"]:
    """P* = lim (1 / n) sum_{i < n} P^i: where time is spent, from each start.

    It exists for periodic chains and for those with several closed classes.

    Args:
      chain: P(s' | s) of one policy.

    Returns:
      P*; row s is the share of time in each state after a start in s.
    """
    classes = closed_classes(chain)
    stationary = np.stack([_stationary_in(chain, members) for members in classes])
    enters = np.zeros((len(chain), len(classes)))
    for column, members in enumerate(classes):
        enters[members, column] = 1
    transient = np.setdiff1d(np.arange(len(chain)), np.concatenate(classes))
    if transient.size:
        left = np.eye(transient.size) - chain[np.ix_(transient, transient)]
        enters[transient] = np.linalg.solve(left, chain[transient] @ enters)
    return enters @ stationary


def classify(mdp: AverageRewardMDP) -> Kind:
    """How the states of an MDP can reach one another.

    Communicating: each from each, under some policy. Weakly communicating: so within
    one closed set, all other states being transient under every policy. Multichain:
    the rest; the best gain may then depend on the start.
    """
    classes = closed_classes(mdp.transition.sum(1))
    if len(classes) == 1 and len(classes[0]) == mdp.num_states:
        return "communicating"
    outside = np.ones(mdp.num_states, bool)
    outside[classes[0]] = False
    if len(classes) == 1 and not _staying(mdp, outside).any():
        return "weakly communicating"
    return "multichain"


def _staying(mdp: AverageRewardMDP, within: np.ndarray) -> np.ndarray:
    """The states from which some policy can stay within a set for ever."""
    while True:
        leaving = mdp.transition[:, :, ~within].sum(-1) > 0
        kept = within & ~leaving.all(1)
        if (kept == within).all():
            return kept
        within = kept


def require_weakly_communicating(mdp: AverageRewardMDP) -> None:
    """Refuse an MDP whose best gain may depend on the start.

    Raises:
      InputError: it is multichain; the line names two sets that stay apart.
    """
    if classify(mdp) != "multichain":
        return
    sets = closed_classes(mdp.transition.sum(1))
    if len(sets) == 1:
        outside = np.ones(mdp.num_states, bool)
        outside[sets[0]] = False
        sets.append(np.flatnonzero(_staying(mdp, outside)))
    first, second = (members.tolist() for members in sets[:2])
    raise InputError(
        "transition: expected a weakly communicating MDP, got a multichain one: "
        f"a policy can stay in states {first} and another in states {second} for ever"
    )


def diameter(mdp: AverageRewardMDP) -> float:
    """D = max_{s, s'} min_pi E[steps from s to s']: how far apart states are.

    Returns:
      Steps; inf where some state cannot be reached from all others.

    Reference:
      Jaksch, Ortner, Auer, 2010, https://jmlr.org/papers/v11/jaksch10a.html.
    """
    if classify(mdp) != "communicating":
        return np.inf
    return max(_farthest(mdp, target) for target in range(mdp.num_states))


def _farthest(mdp: AverageRewardMDP, target: int) -> float:
    """The largest of the expected times to a state under the quickest policy."""
    others = np.flatnonzero(np.arange(mdp.num_states) != target)
    if not others.size:
        return 0.0
    moves = mdp.transition[others][:, :, others]
    policy = _approaching(mdp, target)[others]
    rows = np.arange(others.size)
    while True:
        system = np.eye(others.size) - moves[rows, policy]
        times = np.linalg.solve(system, np.ones(others.size))
        after = moves @ times
        better = after.argmin(1)
        gains = after[rows, better] < after[rows, policy] - 1e-9 * times.max()
        if not gains.any():
            return float(times.max())
        policy = np.where(gains, better, policy)


def _approaching(mdp: AverageRewardMDP, target: int) -> np.ndarray:
    """A policy under which a state is reached with probability one from all others."""
    policy = np.zeros(mdp.num_states, int)
    reached = np.arange(mdp.num_states) == target
    while not reached.all():
        chance = mdp.transition[:, :, reached].sum(-1)
        new = ~reached & (chance.max(1) > 0)
        policy[new] = chance.argmax(1)[new]
        reached = reached | new
    return policy
