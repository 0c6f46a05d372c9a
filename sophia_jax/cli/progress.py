"""Progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["Display", "size_unit"]

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

    def fall_silent(self) -> None:
        """Show nothing more: of several processes the first one speaks."""
        self._console.quiet = True

    def say(self, line: str | RenderableType = "") -> None:
        """Print a line, above the bar where there is one."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def track(
        self,
        iterable: Iterable,
        description: str,
        total: int,
        size_of: Callable[[Any], int] | None = None,
    ) -> Iterator:
        """The same things, while it is shown how many of them there were: a `Track`.

        Args:
          iterable: what is gone through.
          description: names the loop.
          total: how many things there are, or how many bytes.
          size_of: bytes of a thing, shown with their rate; None counts things.

        Yields:
          The things.
        """
        if not total:
            yield from iterable
        elif self._console.is_terminal:
            yield from self._with_bar(iterable, description, total, size_of)
        else:
            yield from self._with_lines(iterable, description, total, size_of)

    def close(self) -> None:
        """Leave the bars of loops that were broken off as they stand."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._running = None, 0

    def _with_bar(
        self,
        iterable: Iterable,
        description: str,
        total: int,
        size_of: Callable[[Any], int] | None,
    ) -> Iterator:
        """A bar of its own, beside those of loops in other threads."""
        with self._lock:
            if self._bars is None:
                self._bars = self._new_bars()
                self._bars.start()
            self._running += 1
            bars = self._bars
        task = bars.add_task(description, total=total, in_bytes=size_of is not None)
        try:
            for thing in iterable:
                yield thing
                bars.advance(task, 1 if size_of is None else size_of(thing))
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
            _Amount(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )

    def _with_lines(
        self,
        iterable: Iterable,
        description: str,
        total: int,
        size_of: Callable[[Any], int] | None,
    ) -> Iterator:
        start = last = time.monotonic()
        done = 0
        for thing in iterable:
            yield thing
            done += 1 if size_of is None else size_of(thing)
            now = time.monotonic()
            if done == total or now - last >= SECONDS_BETWEEN_LINES:
                elapsed, last = now - start, now
                left = elapsed * (total - done) / done
                amount = _amount(done, total, elapsed, size_of is not None)
                self.say(
                    f"{description:<10} {amount}, {elapsed:.0f} s, {left:.0f} s left"
                )


class _Amount(ProgressColumn):
    """Of a bar: how many there were of how many; of bytes their rate too."""

    def render(self, task: Task) -> Text:
        in_bytes = task.fields["in_bytes"]
        return Text(
            _amount(int(task.completed), int(task.total), task.elapsed or 0, in_bytes)
        )


def _amount(done: int, total: int, elapsed: float, in_bytes: bool) -> str:
    """ "3/7", or "0.5/1.2 GB, 0.25 GB/s"."""
    if not in_bytes:
        return f"{done}/{total}"
    unit, name = size_unit(total)
    rate = done / elapsed / 1e9 if elapsed else 0
    return f"{done / unit:.1f}/{total / unit:.1f} {name}, {rate:.2f} GB/s"


def size_unit(size: int) -> tuple[float, str]:
    """The unit in which a number of bytes is told, and its name."""
    return (1e9, "GB") if size >= 1e9 else (1e6, "MB")
