"""Progress bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

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
    """What a command shows while it runs.

    Args:
      console: where; standard output by default.
    """

    def __init__(self, console: Console | None = None):
        self._console = console or Console()
        self._bar: Progress | None = None

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
        """Leave the bar of a loop that was broken off as it stands."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _with_bar(self, iterable: Iterable, description: str, total: int) -> Iterator:
        self.close()
        self._bar = Progress(
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bar.start()
        try:
            yield from self._bar.track(iterable, total=total, description=description)
        finally:
            self.close()

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
