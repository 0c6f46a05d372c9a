"""Two trainings at once: small ones leave half of a small machine idle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from sophia_jax.types import Track

__all__ = ["Stopped", "side_by_side"]


class Stopped(RuntimeError):
    """Another of the tasks failed, or the run was interrupted."""


def side_by_side(track: Track, *tasks: Callable[[Track], Any]) -> list:
    """Run tasks in threads of their own.

    When one fails, or the run is interrupted, the others stop at their next step.

    Args:
      track: shows the progress of each.
      tasks: each takes the `Track` that it must loop through.

    Returns:
      Their results, in order.

    Raises:
      The first task's error, if one failed.
    """
    stop = threading.Event()

    def stoppable(iterable: Iterable, description: str, total: int) -> Iterator:
        for thing in track(iterable, description, total):
            if stop.is_set():
                raise Stopped(description)
            yield thing

    with ThreadPoolExecutor(len(tasks)) as pool:
        futures = [pool.submit(task, stoppable) for task in tasks]
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [f for f in finished if f.exception() is not None]
            if failed:
                raise failed[0].exception()
        finally:
            stop.set()
        return [future.result() for future in futures]
