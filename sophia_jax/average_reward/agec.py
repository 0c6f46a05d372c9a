"""How hard exploration was in a run: the average-reward generalized eluder coefficient.

With I_t = sum_{i<t} |E l_{f_i}(f_t)|^2, the in-sample error of what is in force,

    dominance:  sum_t E(f_t)(s_t, a_t) <= [d sum_t I_t]^(1/2) + sp min(d, T)
    transferability:  if I_t <= beta at all t, then
        sum_t |E l_{f_t}(f_t)|^2 <= kappa beta log T + sp^2 min(kappa, T)

[recalled; the constants of the last terms are not known, and taken to be 1 here]. The
coefficients of a class are those of its worst run; here they are those of one run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sophia_jax.average_reward.hypotheses import ModelClass, ValueClass
from sophia_jax.average_reward.mdp import AverageRewardMDP
from sophia_jax.average_reward.solvers import solve
from sophia_jax.average_reward.trace import Trace
from sophia_jax.types import Array, Float, InputError

__all__ = [
    "Exploration",
    "bellman_eluder_dimension",
    "expected_discrepancies",
    "measure_exploration",
]


@dataclass(frozen=True)
class Exploration:
    """What a run's exploration was worth.

    Attributes:
      dominance: d_G, the least with which the first inequality holds.
      transferability: kappa_G, likewise of the second.
      bellman_errors: sum_t E(f_t)(s_t, a_t), of which regret is made.
      in_sample: the largest sum_{i<t} |E l_{f_i}(f_t)|^2 of all t.
      out_of_sample: sum_t |E l_{f_t}(f_t)|^2.
    """

    dominance: float
    transferability: float
    bellman_errors: float
    in_sample: float
    out_of_sample: float


def expected_discrepancies(
    hypotheses: ModelClass | ValueClass, mdp: AverageRewardMDP
) -> Float[np.ndarray, "hypothesis discriminator state action"]:
    """E l_{f'}(f, f, (s, a)): what is expected of a hypothesis' error in an MDP.

        model-based   (r_f - r + (P_f - P) V_{f'})(s, a)
        value-based   Q_f(s, a) + J_f - r(s, a) - (P V_f)(s, a), for every f'

    With f' = f both are the Bellman error E(f)(s, a).

    Returns:
      Of each f, by each f' in force.
    """
    values = np.asarray(hypotheses.values, np.float64)
    if isinstance(hypotheses, ModelClass):
        moves = np.asarray(hypotheses.transition, np.float64) - mdp.transition
        expected = np.einsum("fsap,gp->fgsa", moves, values)
        return expected + (hypotheses.reward - mdp.reward)[:, None]
    backup = mdp.reward + np.einsum("sap,fp->fsa", mdp.transition, values)
    gain = np.asarray(hypotheses.gain, np.float64)[:, None, None]
    error = hypotheses.action_values + gain - backup
    return np.repeat(error[:, None], len(error), axis=1)


def measure_exploration(
    trace: Trace, hypotheses: ModelClass | ValueClass, mdp: AverageRewardMDP
) -> Exploration:
    """The coefficients of one run of LOOP on a finite class.

    Args:
      trace: of one key, with its path kept and all of its switches noted.
      hypotheses: the agent's class.
      mdp: what it acted in.

    Raises:
      InputError: the trace has no path, no hypotheses, several runs, or more switches
        than were noted.
    """
    begins, chosen = _epochs(trace)
    table = expected_discrepancies(hypotheses, mdp)
    bounds = [*begins.tolist(), len(trace.states)]
    visits = np.zeros((len(chosen), *mdp.reward.shape))
    errors = in_sample = out_of_sample = largest = 0.0
    for epoch, f in enumerate(chosen):
        steps = slice(bounds[epoch], bounds[epoch + 1])
        pairs = (trace.states[steps], trace.actions[steps])
        before = (visits[:epoch] * table[f, chosen[:epoch]] ** 2).sum()
        own = table[f, f][pairs]
        so_far = before + np.cumsum(own**2) - own**2
        errors, in_sample = errors + own.sum(), in_sample + so_far.sum()
        out_of_sample += (own**2).sum()
        largest = max(largest, so_far.max(initial=0))
        np.add.at(visits[epoch], pairs, 1)
    sizes = (errors, in_sample, largest, out_of_sample)
    return _coefficients(*sizes, solve(mdp).span, len(trace.states))


def _epochs(trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """When each policy was chosen, and of which hypothesis it was."""
    if trace.states is None or trace.actions is None:
        raise InputError("trace: expected one with its path (keep_path), got none")
    if trace.states.ndim != 1:
        raise InputError(f"trace: expected one run, got {len(trace.states)}")
    if "hypothesis" not in trace.notes:
        raise InputError("trace: expected an agent of a finite class, got another")
    count = int(trace.switches) + 1
    if count > len(trace.switch_step):
        rule = f"all {count} policies noted (max_noted)"
        raise InputError(f"trace: expected {rule}, got {len(trace.switch_step)}")
    return trace.switch_step[:count], trace.notes["hypothesis"][:count]


def _coefficients(
    errors: float,
    in_sample: float,
    largest: float,
    out_of_sample: float,
    span: float,
    num_steps: int,
) -> Exploration:
    """The least d and kappa: a quadratic in sqrt(d), and a quotient."""
    positive, root = max(errors, 0.0), 0.0
    if positive > 0:
        twice = np.sqrt(in_sample) + np.sqrt(in_sample + 4 * span * positive)
        root = 2 * positive / twice if twice > 0 else np.inf
    room = largest * np.log(max(num_steps, 2)) + span**2
    transferability = out_of_sample / room if room > 0 else 0.0
    return Exploration(
        float(root**2),
        float(transferability),
        float(errors),
        float(largest),
        float(out_of_sample),
    )


def bellman_eluder_dimension(
    errors: Float[Array, "hypothesis point"], *, epsilon: float
) -> int:
    """How many points in a row some hypothesis can surprise at, by greedy search.

    A point is independent of others at e if there is a hypothesis with
    sum of squared errors on them at most e^2, and an error at it above e. The dimension
    is the length of the longest row in which each is independent of those before it,
    at some e >= epsilon. Greedily, each next point leaves as many hypotheses as can be
    within e: so this is at most the dimension, and often less.

    Args:
      errors: Bellman errors of each hypothesis at each point, as a pair (s, a).
      epsilon: > 0.

    Raises:
      ValueError: epsilon <= 0.

    Reference:
      Jin, Liu, Miryoosefi, 2021, https://arxiv.org/abs/2102.00815.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon: expected > 0, got {epsilon}")
    squares = np.asarray(errors, np.float64) ** 2
    sizes = np.unique(np.sqrt(squares[squares > epsilon**2]) * (1 - 1e-9))
    sizes = np.unique(np.concatenate([[epsilon], sizes[sizes > epsilon]]))
    if len(sizes) > 64:
        sizes = np.quantile(sizes, np.linspace(0, 1, 64))
    return max(_greedy_row(squares, size**2) for size in sizes)


def _greedy_row(squares: np.ndarray, level: float) -> int:
    """The length of one row of independent points; each uses up a hypothesis."""
    totals = np.zeros(len(squares))
    length = 0
    while True:
        within = totals <= level
        independent = ((squares > level) & within[:, None]).any(0)
        if not independent.any():
            return length
        kept = (totals[:, None] + squares <= level).sum(0)
        point = np.where(independent, kept, -1).argmax()
        totals = totals + squares[:, point]
        length += 1
