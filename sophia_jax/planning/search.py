"""Batches up to the largest one that fits, found by compiling a few of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sophia_jax.planning.compiling import Compiled

__all__ = ["MOST_TRIES", "Tried", "try_batches"]

MOST_TRIES = 4
SPARE = 0.98  # of the memory that a straight line says there is


@dataclass(frozen=True)
class Tried:
    """A batch, and what the compiler said to it."""

    batch: int
    compiled: Compiled


def try_batches(
    compile_batch: Callable[[int], Compiled],
    first: int,
    *,
    step: int = 1,
    most: int | None = None,
    tries: int = MOST_TRIES,
) -> Iterator[Tried]:
    """Compile batches until the largest one that fits is known to within a few percent.

    Memory grows about linearly with the batch: two compilations give the line, and
    what it says is compiled too; if that does not fit after all, a smaller one is.

    Args:
      compile_batch: for a batch.
      first: batch to begin with.
      step: batches are multiples of it.
      most: batch that is of use; None for any.
      tries: compilations at most.

    Yields:
      What was tried, in turn.
    """
    tried: list[Tried] = []
    batch: int | None = first
    while batch and len(tried) < tries:
        tried.append(Tried(batch, compile_batch(batch)))
        yield tried[-1]
        batch = _next_batch(tried, step, most)


def _next_batch(tried: list[Tried], step: int, most: int | None) -> int | None:
    """What to compile next; None where nothing is left to learn."""
    fitting = [each.batch for each in tried if each.compiled.fits]
    failing = [each.batch for each in tried if not each.compiled.fits]
    largest, smallest = max(fitting, default=0), min(failing, default=None)
    if len(tried) == 1:
        first = tried[0].batch
        guess = max(first + step, first * 5 // 4) if fitting else first // 2
    else:
        guess = _on_line(*tried[-2:])
    guess = guess // step * step
    if most is not None:
        guess = min(guess, most // step * step)
    if smallest is not None:
        guess = min(guess, smallest - step)
    return guess if guess > largest else None


def _on_line(one: Tried, other: Tried) -> int:
    """Where a straight line through two batches meets the memory that there is."""
    slope = (other.compiled.peak_bytes - one.compiled.peak_bytes) / (
        other.batch - one.batch
    )
    if slope <= 0:
        return 2 * max(one.batch, other.batch)
    room = SPARE * other.compiled.usable_bytes - other.compiled.peak_bytes
    return int(other.batch + room / slope)
