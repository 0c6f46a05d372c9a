"""What a run leaves behind."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import jax
import numpy as np

from sophia_jax.types import Bool, Float, Int

__all__ = [
    "ContradictedOptimism",
    "EmptyConfidenceSet",
    "Trace",
    "contradicted",
    "first_seed",
    "warn_of_contradictions",
    "warn_of_empty_sets",
]

SLACK = 2e-3  # of an optimistic gain: what value iteration leaves


class EmptyConfidenceSet(UserWarning):
    """No hypothesis was left: the span bound, or beta, is too small."""


class ContradictedOptimism(UserWarning):
    """More was earned than was thought possible: the span bound, or beta, is too small.

    Sets that are relaxed to each pair never become empty; this is how they are refuted.
    """


@dataclass(frozen=True, eq=False)
class Trace:
    """What a run leaves. With several keys, each array has a leading axis of seeds.

    Attributes:
      step: after how many steps `regret` is told, Int[record]; without seeds.
      regret: sum of J* - r(s_t, a_t) until then, Float[record].
      pseudo_regret: sum of J* + h(s_t) - r(s_t, a_t) - E[h(s')] until then, what the
        choices cost: never less than before, and in the mean within sp(V*) of the
        regret, without the noise of where the chain went, Float[record].
      switches: how often the policy was changed after the first, Int[].
      switch_step: after how many steps, Int[switch]; -1 where there was no such switch.
        The first is 0, when the first policy was chosen. No more than `max_noted` are
        told of; `switches` counts all.
      notes: what the agent's `describe` says at each of these switches, by name, and
        "covers": whether the truth was in its confidence set.
      visits: how often each pair was chosen, Int[state action].
      states, actions: of each step, Int[step], where the path was asked for.
    """

    step: Int[np.ndarray, " record"]
    regret: Float[np.ndarray, "*seed record"]
    pseudo_regret: Float[np.ndarray, "*seed record"]
    switches: Int[np.ndarray, "*seed"]
    switch_step: Int[np.ndarray, "*seed switch"]
    notes: dict[str, np.ndarray]
    visits: Int[np.ndarray, "*seed state action"]
    states: Int[np.ndarray, "*seed step"] | None = None
    actions: Int[np.ndarray, "*seed step"] | None = None


def first_seed(trace: Trace) -> Trace:
    """The trace of a run with one key, without the axis of seeds."""
    fields = {name: getattr(trace, name) for name in trace.__dataclass_fields__}
    fields = {n: v for n, v in fields.items() if n != "step" and v is not None}
    first = jax.tree.map(lambda leaf: leaf[0], fields)
    return Trace(step=trace.step, **first)


def warn_of_empty_sets(name: str, trace: Trace) -> None:
    """Say that a confidence set was empty, of the first run in which it was."""
    empty = trace.notes.get("empty")
    if empty is None or not empty.any():
        return
    seed, switch = (int(index) for index in np.argwhere(empty)[0])
    warnings.warn(
        f"{name}: the confidence set became empty after "
        f"{int(trace.switch_step[seed, switch])} steps, in {int(empty.any(1).sum())} "
        f"of {len(empty)} runs: expected a span bound that is at least the span of the "
        "truth, and a beta that is large enough",
        EmptyConfidenceSet,
        stacklevel=3,
    )


def contradicted(
    trace: Trace, span_bound: float | None, gain: float, *, delta: float = 1e-3
) -> Bool[np.ndarray, "*seed"]:
    """Whether an agent earned more than its confidence sets could let it.

        sum_{i <= t} (r_i - J_{k(i)}) > sp (1 + sqrt(t / 2 log(2 t^2 / delta)))

    where J_k is the optimistic gain of the policy in force. If sp is at least the span
    of the truth, and the truth was in every set, J_k >= J*, and r_i - J* is at most a
    martingale of range sp [derived]: then this happens, at any t, with chance at most
    delta. It need not happen where sp is too small: a wide set, or a policy that earns
    no more than it believes, refutes nothing.

    Args:
      trace: of one run or of several.
      span_bound: sp, which the agent was told; None where it was told none.
      gain: J*, with which rewards are had from the regret.
      delta: chance of a false alarm.

    Returns:
      Of each run; up to the last switch that was noted.
    """
    believed = trace.notes.get("optimistic_gain")
    if believed is None or span_bound is None or not np.isfinite(span_bound):
        return np.zeros(trace.switches.shape, bool)
    rows = trace.switch_step.shape[-1]
    steps, found = trace.step.astype(float), []
    log = np.log(2 * steps**2 / delta)
    most = span_bound * (1 + np.sqrt(steps / 2 * log)) + SLACK * steps
    for begins, gains, regret, switches in zip(
        trace.switch_step.reshape(-1, rows),
        believed.reshape(-1, rows).astype(float),
        trace.regret.reshape(-1, len(steps)).astype(float),
        trace.switches.reshape(-1),
        strict=True,
    ):
        there = begins >= 0
        begins, gains = begins[there].astype(float), gains[there]
        lasted = np.clip(steps[:, None] - begins, 0, np.append(np.diff(begins), np.inf))
        known = steps <= (begins[-1] if switches + 1 > len(begins) else np.inf)
        earned = gain * steps - regret
        found.append(bool((known & (earned - lasted @ gains > most)).any()))
    return np.reshape(found, trace.switches.shape)


def warn_of_contradictions(
    name: str, trace: Trace, span_bound: float | None, gain: float
) -> None:
    """Say that an agent was refuted by what it earned."""
    found = contradicted(trace, span_bound, gain)
    if found.any():
        warnings.warn(
            f"{name}: more was earned than was believed possible, in "
            f"{int(found.sum())} of {found.size} runs: expected a span bound that is "
            "at least the span of the truth, and a beta that is large enough, got a "
            f"bound of {span_bound:g}",
            ContradictedOptimism,
            stacklevel=3,
        )
