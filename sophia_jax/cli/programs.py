"""What a command compiled, and what its device did: listed, and traced on request."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from sophia_jax.paths import uploaded

__all__ = ["Programs", "traced"]

COMPILED = "/jax/core/compile/backend_compile_duration"
FROM_CACHE = "/jax/compilation_cache/cache_hits"


class Programs:
    """Counts the programs that JAX compiles, or takes from its cache, from now on."""

    def __init__(self):
        self._numbers: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._from_cache = 0
        self._lock = threading.Lock()
        jax.monitoring.register_event_duration_secs_listener(self._compiled)
        jax.monitoring.register_event_listener(self._found)

    def summary(self) -> dict[str, Any]:
        """How many there were, from the cache and in all; and each function's own."""
        return {
            "number": sum(self._numbers.values()),
            "from_cache": self._from_cache,
            "seconds": sum(self._seconds.values()),
            "by_function": {
                name: {"number": number, "seconds": self._seconds[name]}
                for name, number in self._numbers.most_common()
            },
        }

    def line(self) -> str:
        """The same in a line; all of it is spent before the first use of a program."""
        found = self.summary()
        return (
            f"programs   {found['number']}, {found['from_cache']} of them from the "
            f"cache of earlier runs; compiling took {found['seconds']:.0f} s"
        )

    def _compiled(self, event: str, seconds: float, **about: Any) -> None:
        if event == COMPILED:
            with self._lock:
                name = str(about.get("fun_name", "?"))
                self._numbers[name] += 1
                self._seconds[name] += seconds

    def _found(self, event: str, **_: Any) -> None:
        if event == FROM_CACHE:
            with self._lock:
                self._from_cache += 1


@contextmanager
def traced(folder: Path, *, after_seconds: float, seconds: float) -> Iterator[None]:
    """Trace a part of what runs inside: it begins some seconds on, and ends by itself.

    Args:
      folder: for the trace, which XProf, TensorBoard and Perfetto show.
      after_seconds: until it begins.
      seconds: that are traced; 0 for none.
    """
    if not seconds:
        yield
        return
    done = threading.Event()

    def trace() -> None:
        if done.wait(after_seconds):
            return
        with uploaded(folder) as local, jax.profiler.trace(str(local)):
            done.wait(seconds)

    thread = threading.Thread(target=trace)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
