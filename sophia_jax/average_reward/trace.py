"""What a run leaves behind."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import jax
import numpy as np

from sophia_jax.types import Float, Int

__all__ = ["EmptyConfidenceSet", "Trace", "first_seed", "warn_of_empty_sets"]


class EmptyConfidenceSet(UserWarning):
    """No hypothesis was left: the span bound, or beta, is too small."""


@dataclass(frozen=True, eq=False)
class Trace:
    """What a run leaves. With several keys, each array has a leading axis of seeds.

    Attributes:
      step: after how many steps `regret` is told, Int[record]; without seeds.
      regret: sum of J* - r(s_t, a_t) until then, Float[record].
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
