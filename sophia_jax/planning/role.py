"""A role: one of a run's programs, what it does in a step, and how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sophia_jax.planning.collectives import Traffic
from sophia_jax.planning.compiling import Program
from sophia_jax.planning.counts import Work

__all__ = ["Role"]


@dataclass(frozen=True)
class Role:
    """One program of a run.

    Attributes:
      name: of the role.
      chips: that run one copy of the program.
      used_chips: that run all copies; the others of the slice are idle meanwhile.
      unit: what a batch counts.
      first: batch to begin with.
      step: batches are multiples of it.
      program: of a batch, to be compiled.
      work: of one chip in one step of a batch.
      traffic: likewise.
      steps: of one copy of the program, in the whole round, for a batch.
      most: batch that is of use; None for any.
      host_seconds: of the whole round, that chips wait for their hosts.
      largest_runs: whether the run takes the largest batch that fits.
    """

    name: str
    chips: int
    used_chips: int
    unit: str
    first: int
    step: int
    program: Callable[[int], Program]
    work: Callable[[int], Work]
    traffic: Callable[[int], Traffic]
    steps: Callable[[int], float]
    most: int | None = None
    host_seconds: float = 0.0
    largest_runs: bool = False
