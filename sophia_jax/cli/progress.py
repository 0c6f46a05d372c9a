"""Progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Display"]

SECONDS_BETWEEN_LINES = 10.0


class Display:
    """What a command shows while it runs; loops may run side by side in threads.

    Args:
      console: where; standard output by default.
    """

    def __init__(self, console: Console | None = None):
        self._console = console or Console()
        self._lock = threading.RLock()
        self._bars: Progress | None = None
        self._running = 0  # loops, each in a thread of its own

    def say(self, line: str | RenderableType = "") -> None:
        """Print a line, above the bar where there is one."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def track(self, iterable: Iterable, description: str, total: int) -> Iterator:
        """The same things, while it is shown how many of them there were: a `Track`.

        Args:
          iterable: what is gone through.
          description: names the loop.
          total: how many things there are.

        Yields:
          The things.
        """
        if not total:
            yield from iterable
        elif self._console.is_terminal:
            yield from self._with_bar(iterable, description, total)
        else:
            yield from self._with_lines(iterable, description, total)

    def close(self) -> None:
        """Leave the bars of loops that were broken off as they stand."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._running = None, 0

    def _with_bar(self, iterable: Iterable, description: str, total: int) -> Iterator:
        """A bar of its own, beside those of loops in other threads."""
        with self._lock:
            if self._bars is None:
                self._bars = self._new_bars()
                self._bars.start()
            self._running += 1
            bars = self._bars
        task = bars.add_task(description, total=total)
        try:
            for thing in iterable:
                yield thing
                bars.advance(task)
        finally:
            with self._lock:
                if bars is self._bars:
                    self._running -= 1
                    if self._running == 0:
                        self.close()

    def _new_bars(self) -> Progress:
        return Progress(
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )

    def _with_lines(self, iterable: Iterable, description: str, total: int) -> Iterator:
        start = last = time.monotonic()
        for done, thing in enumerate(iterable, start=1):
            yield thing
            now = time.monotonic()
            if done == total or now - last >= SECONDS_BETWEEN_LINES:
                elapsed, last = now - start, now
                left = elapsed * (total - done) / done
                self.say(
                    f"{description:<10} {done}/{total}, {elapsed:.0f} s, "
                    f"{left:.0f} s left"
                )
