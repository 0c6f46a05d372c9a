"""The loop around the steps of a phase: metrics, checkpoints, resuming, stopping."""

from __future__ import annotations

import collections
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import jax

from sophia_jax.preemption import Preempted, defer_preemption, stop_if_preempted
from sophia_jax.sharding.order import in_order
from sophia_jax.sharding.peers import watch_peers
from sophia_jax.sharding.together import all_agree, is_first
from sophia_jax.training.checkpoint import Checkpoints
from sophia_jax.training.metrics import MetricsWriter
from sophia_jax.training.retention import METRICS
from sophia_jax.training.step import TrainState
from sophia_jax.types import Array, InputError, Track

__all__ = ["Signalled", "Stepped", "Steps", "run_steps"]

Signalled = Callable[[], str | None]
"""The name of the signal that told the process to stop, or None."""


class Stepped(NamedTuple):
    """What a step comes to.

    Attributes:
      state: after it.
      metrics: scalars, of which arrays are not waited for.
      position: where the data stands; JSON.
      stop: whether a process was told to stop; the same on all of them.
      is_whole: False where the step was left before it changed anything.
    """

    state: TrainState
    metrics: Mapping[str, Array | float]
    position: dict
    stop: bool
    is_whole: bool = True


class Steps(Protocol):
    """The steps of a phase."""

    def resume(self, state: TrainState, position: dict) -> int:
        """Go on from a checkpoint's state and position; how many steps it has made."""

    def __call__(self, number: int, state: TrainState) -> Stepped:
        """Make a step, counted from 0; the state that it is given is used up."""

    def close(self) -> None:
        """Nothing more is asked."""


def run_steps(
    state: TrainState,
    begin: Callable[[Signalled], Steps],
    *,
    num_steps: int,
    folder: Path,
    open_checkpoints: Callable[[], Checkpoints],
    checkpoint_every: int,
    track: Track,
    description: str,
) -> TrainState:
    """Make the steps that are left, and leave their metrics and checkpoints.

    Args:
      state: before the first one.
      begin: gives the steps, once it is known whether the process is to stop.
      num_steps: of the phase.
      folder: of the metrics.
      open_checkpoints: of the phase.
      checkpoint_every: steps between them.
      track: shows the steps.
      description: what `track` calls them.

    Returns:
      The state after the last one.

    Raises:
      InputError: the folder's checkpoint is of another run.
      FloatingPointError: loss or gradient is not finite; names the step.
      Preempted: it was told to stop, and has saved what it did.
    """
    # Programs of several processes must not run side by side on CPUs, as of `feed`.
    several = jax.process_count() > 1
    one_at_a_time = several and jax.default_backend() == "cpu"
    stop_if_preempted()
    with contextlib.ExitStack() as stack:
        signalled = stack.enter_context(defer_preemption())
        stack.enter_context(watch_peers())
        steps = stack.enter_context(contextlib.closing(begin(signalled)))
        checkpoints = stack.enter_context(open_checkpoints())
        state, first = _resume(state, checkpoints, steps, num_steps)
        writer = None
        if is_first():
            opened = MetricsWriter(folder, first_step=first)
            writer = stack.enter_context(contextlib.closing(opened))

        unread = collections.deque()  # is read while the next step runs
        since_saved, saved = [], first
        for number in track(range(first, num_steps), description, num_steps - first):
            state, metrics, position, stop, is_whole = steps(number, state)
            done = number + is_whole
            if is_whole:
                unread.append((number, metrics))
            saving = stop or done % checkpoint_every == 0 or done == num_steps
            while len(unread) > (0 if saving or one_at_a_time else 1):
                values = _finite(*unread[0])
                since_saved.append(values)
                if writer is not None:
                    writer.write(unread[0][0], values)
                unread.popleft()
            if saving and done > saved:
                if writer is not None:
                    writer.flush()
                with in_order(state.partition):
                    checkpoints.save(done, state, position, _means(since_saved))
                since_saved.clear()
                saved = done
            if stop:
                raise Preempted(signalled() or "another process", together=True)
        # One that stopped alone would let the others wait in what comes next.
        if several and not all_agree(signalled() is None):
            raise Preempted(signalled() or "another process", together=True)
    if not several:
        stop_if_preempted()
    return state


def _resume(
    state: TrainState, checkpoints: Checkpoints, steps: Steps, num_steps: int
) -> tuple[TrainState, int]:
    """The newest checkpoint's state, with the data where it stood; else `state`."""
    restored = checkpoints.restore(state)
    if restored is None:
        return state, 0
    state, position = restored
    first = steps.resume(state, position)
    if first > num_steps:
        raise InputError(
            f"num_steps: expected at least the checkpoint's {first} updates, got "
            f"{num_steps}"
        )
    return state, first


def _finite(step: int, metrics: Mapping[str, Array | float]) -> dict[str, float]:
    """Waits for the step; stops the run where a number is not finite.

    A mean of nothing, such as of a ratio to nobody knows what, is left out.
    """
    values = {name: float(value) for name, value in metrics.items()}
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(values.get(name, 0.0)):
            raise FloatingPointError(
                f"update {step}: expected a finite {name}, got {values[name]}"
            )
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Over the rows that have the metric."""
    found = {name: [row[name] for row in rows if name in row] for name in METRICS}
    return {
        name: math.fsum(values) / len(values)
        for name, values in found.items()
        if values
    }
