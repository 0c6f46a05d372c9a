"""Gain, bias and optimal policies of a known MDP, three ways, in NumPy float64.

    J* + h(s) = max_a { r(s, a) + sum_s' P(s' | s, a) h(s') }

J*, the gain, is the best reward per step in the long run. h, the bias, is how much
more than that a start in s brings in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linprog

from sophia_jax.average_reward.chains import (
    chain_of,
    limiting_matrix,
    require_weakly_communicating,
    span,
)
from sophia_jax.average_reward.mdp import AverageRewardMDP
from sophia_jax.types import Array, Float, Int

__all__ = [
    "Solution",
    "evaluate_policy",
    "linear_programming",
    "policy_iteration",
    "relative_value_iteration",
    "solve",
]

TIE = 1e-10  # of the largest value: actions closer than this are equally good
EXACT = {
    "method": "highs-ds",
    "options": {
        "presolve": False,
        "primal_feasibility_tolerance": 1e-10,
        "dual_feasibility_tolerance": 1e-10,
    },
}
FIRST_SWEEPS = 5000  # of value iteration before the first policy is evaluated
MAX_ROUNDS = 1000  # of policy iteration; it is over after few


@dataclass(frozen=True, eq=False)
class Solution:
    """What is best in an MDP, and how good it is.

    Attributes:
      gain: J*, reward per step.
      bias: h(s), Float[state]; its mean over the time that the policy spends is 0.
      policy: one best action per state, Int[state].
      optimality: "bias" where the policy has the largest bias of all that reach the
        gain, so that no other earns more on the way; "gain" where it only reaches it.
    """

    gain: float
    bias: Float[Array, " state"]
    policy: Int[Array, " state"]
    optimality: Literal["gain", "bias"]

    @property
    def span(self) -> float:
        """sp(h): no policy can make up for more than this by where it starts."""
        return span(self.bias)


def solve(mdp: AverageRewardMDP) -> Solution:
    """The gain, the largest bias, and a policy that has both: `policy_iteration`."""
    return policy_iteration(mdp)


def evaluate_policy(
    chain: Float[np.ndarray, "state state"], reward: Float[np.ndarray, " state"]
) -> tuple[Float[np.ndarray, " state"], Float[np.ndarray, " state"]]:
    """Gain and bias of one policy, from each start.

        g = P* r,   h = (I - P + P*)^-1 (I - P*) r

    Args:
      chain: P(s' | s) under the policy; it may be periodic or have several classes.
      reward: r(s) under the policy.

    Returns:
      Gain and bias of each start; P* h = 0.

    Reference:
      Puterman, Markov Decision Processes, 1994, appendix A and theorem 8.2.3.
    """
    limit = limiting_matrix(chain)
    identity = np.eye(len(chain))
    gain = limit @ reward
    return gain, np.linalg.solve(identity - chain + limit, reward - gain)


def policy_iteration(
    mdp: AverageRewardMDP, *, optimality: Literal["gain", "bias"] = "bias"
) -> Solution:
    """Howard's policy iteration for chains of any structure: exact, in few rounds.

    For the largest bias the same is done once more, among the actions that reach the
    maximum of the optimality equation, with -h for a reward: the best gain there is
    what can be added to h.

    Args:
      mdp: weakly communicating.
      optimality: whether any policy of the best gain will do, or the largest bias is
        asked for as well.

    Raises:
      InputError: the MDP is multichain.

    Reference:
      Puterman, Markov Decision Processes, 1994, sections 9.2 and 10.3.
    """
    require_weakly_communicating(mdp)
    allowed = np.ones(mdp.reward.shape, bool)
    policy, gain, bias = _howard(mdp.transition, mdp.reward, allowed)
    if optimality == "bias":
        values = mdp.reward + mdp.transition @ bias
        scale = max(1.0, np.abs(values).max())
        conserving = values >= values.max(1, keepdims=True) - TIE * scale
        lower = np.broadcast_to(-bias[:, None], mdp.reward.shape)
        policy, added, _ = _howard(mdp.transition, lower, conserving)
        bias = bias + added
    return Solution(float(gain.mean()), bias, policy, optimality)


def _howard(
    transition: np.ndarray, reward: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A policy of the best gain from every start, with its gain and its bias."""
    states = np.arange(len(reward))
    policy = _first_policy(transition, reward, allowed)
    for _ in range(MAX_ROUNDS):
        gain, bias = evaluate_policy(transition[states, policy], reward[states, policy])
        reached = np.where(allowed, transition @ gain, -np.inf)
        improved = _better(reached, policy)
        if (improved == policy).all():
            scale = TIE * max(1.0, np.abs(gain).max())
            keeps = reached >= reached.max(1, keepdims=True) - scale
            values = np.where(keeps, reward + transition @ bias, -np.inf)
            improved = _better(values, policy)
        if (improved == policy).all():
            return policy, gain, bias
        policy = improved
    raise ValueError(
        "transition: expected policies that float64 can tell apart, got none that "
        f"stays the best in {MAX_ROUNDS} rounds"
    )


def _first_policy(
    transition: np.ndarray, reward: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """The best policy as damped value iteration sees it: mostly the best of all.

    Policies that are far from it can hold a state for 10^16 steps before they leave,
    and their equations have no digits then.
    """
    values = np.zeros(len(reward))
    for _ in range(FIRST_SWEEPS):
        backup = np.where(allowed, reward + 0.5 * (transition @ values), -np.inf)
        change = backup.max(1) - 0.5 * values
        values = values + change
        if span(change) < TIE:
            break
    return backup.argmax(1)


def _better(values: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """The best actions; the old one wherever it is as good."""
    old = values[np.arange(len(policy)), policy]
    scale = TIE * max(1.0, np.abs(old).max())
    return np.where(values.max(1) > old + scale, values.argmax(1), policy)


def relative_value_iteration(
    mdp: AverageRewardMDP,
    *,
    damping: float = 0.5,
    tolerance: float = 1e-14,
    max_iterations: int = 1_000_000,
) -> Solution:
    """Value iteration on P <- (1 - tau) I + tau P, which is never periodic.

        J* + h'(s) = max_a { r(s, a) + ((1 - tau) h' + tau P h')(s) },   h = tau h'

    The gain is that of the MDP itself, the bias of the damped one is h / tau.

    Args:
      mdp: weakly communicating.
      damping: tau in (0, 1]; 1 is no damping, and does not converge where the chain
        of the best policy is periodic.
      tolerance: sp(T h - h) at which the iteration ends; it ends as well where that
        has fallen to the last digits of the values.
      max_iterations: after which it is given up.

    Returns:
      Gain to the tolerance; bias to the tolerance times the chain's mixing time.

    Raises:
      InputError: the MDP is multichain.
      ValueError: damping outside (0, 1]; no convergence.

    Reference:
      Puterman, Markov Decision Processes, 1994, sections 8.5.4 and 8.5.5.
    """
    if not 0 < damping <= 1:
        raise ValueError(f"damping: expected in (0, 1], got {damping}")
    require_weakly_communicating(mdp)
    values = np.zeros(mdp.num_states)
    for _ in range(max_iterations):
        backup = mdp.reward + damping * (mdp.transition @ values)
        change = backup.max(1) - damping * values  # T h - h of the damped chain
        rounding = 4 * np.finfo(float).eps * (1 + np.abs(values).max())
        if span(change) <= max(tolerance, rounding):
            gain = (change.max() + change.min()) / 2
            return _centered(mdp, gain, damping * values, backup.argmax(1))
        values = values + change
        values = values - values[0]
    raise ValueError(
        f"max_iterations: expected enough to converge, got {max_iterations}, after "
        f"which sp(T h - h) is {span(change):.3g}"
    )


def linear_programming(mdp: AverageRewardMDP) -> Solution:
    """The gain as a linear program over J and h, the bias as another one; small MDPs.

        min J   s.t.  J + h(s) >= r(s, a) + sum_s' P(s' | s, a) h(s')
        min sum_s h(s)   s.t.  the same at J = J*, and h(s_0) = 0

    s_0 is visited for ever under the best policy: the dual of the first program tells.
    A program is solved to 1e-10 of its constraints; the vertex that it names, a policy,
    is then solved exactly.

    Args:
      mdp: weakly communicating, and the best policies of one closed class; where they
        have several, the bias is that of one of them.

    Raises:
      InputError: the MDP is multichain.

    Reference:
      Puterman, Markov Decision Processes, 1994, section 8.8.
    """
    require_weakly_communicating(mdp)
    states, actions = mdp.reward.shape
    left = mdp.transition - np.eye(states)[:, None]  # P h - h <= J - r
    left = left.reshape(-1, states)
    limits = -mdp.reward.reshape(-1)
    gain, marginals = _program(
        np.r_[np.zeros(states), 1.0], np.c_[left, -np.ones(len(left))], limits, 0
    )
    time_in = -marginals.reshape(states, actions).sum(1)
    slack = 1e-13  # the first program's own rounding, or the second has no solution
    recurrent = int(time_in.argmax())
    bias = _program(np.ones(states), left, limits + gain[-1] + slack, recurrent)[0]
    policy = (mdp.reward + mdp.transition @ bias).argmax(1)
    gains, bias = evaluate_policy(*chain_of(mdp, policy))
    return Solution(float(gains[recurrent]), bias, policy, "gain")


def _program(
    costs: np.ndarray, left: np.ndarray, limits: np.ndarray, fixed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The minimizer of a linear program with one value at 0, and the constraints'
    prices."""
    bounds = [(None, None)] * len(costs)
    bounds[fixed] = (0, 0)
    found = linprog(costs, left, limits, bounds=bounds, **EXACT)
    if found.x is None:
        raise ValueError(
            f"transition: expected a program to solve, got {found.message}"
        )
    return found.x, found.ineqlin.marginals


def _centered(
    mdp: AverageRewardMDP, gain: float, bias: np.ndarray, policy: np.ndarray
) -> Solution:
    """The bias at the level at which its mean over the policy's time is 0."""
    chain, _ = chain_of(mdp, policy)
    bias = bias - limiting_matrix(chain) @ bias
    return Solution(float(gain), bias, policy, "gain")
