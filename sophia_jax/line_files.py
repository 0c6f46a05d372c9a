"""Lines that are there for good once they are written, on a disk or in a bucket.

In a bucket that is after a second at most, or at once by `flush`.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from sophia_jax.paths import is_remote, write_whole

__all__ = ["LineFile", "line_file"]

COLLECT_SECONDS = 1.0  # of lines in an object; who appends does not wait for it

_PART = re.compile(r"(\d{8})(-all)?\.jsonl")


class LineFile:
    """A file on the disk, to which lines are appended; a kill loses none of them.

    Args:
      path: of the file, which is not looked at before it is needed.
    """

    def __init__(self, path: Path):
        self.path = path

    def lines(self) -> Iterator[bytes]:
        """The lines so far, all whole; one that was cut off is taken away."""
        if not self.path.exists():
            return
        whole = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                yield line
        os.truncate(self.path, whole)  # or the next line would end this one

    def append(self, line: str) -> None:
        """Add a line, which ends with a newline."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def flush(self) -> None:
        """Nothing is left to be written."""

    def replace(self, lines: Iterable[str]) -> None:
        """Put other lines in the stead of all, at once."""
        write_whole(self.path, "".join(lines))


class LineFolder:
    """The same in a bucket, where nothing can be appended: numbered objects of lines.

    A thread sends what has been appended within a second; a kill loses no more. An
    object that ends in `-all` is in the stead of all before it. One process alone
    writes.

    Args:
      path: of the folder of these objects.
    """

    def __init__(self, path: Path):
        self.path = path
        self._next: int | None = None
        self._lock = threading.Lock()  # of what is not sent yet
        self._sending = threading.RLock()  # one object at a time, in their order
        self._unsent: list[str] = []
        self._timer: threading.Timer | None = None
        self._error: BaseException | None = None

    def lines(self) -> Iterator[bytes]:
        """The lines so far."""
        self.flush()
        for name in self._current():
            yield from (self.path / name).read_bytes().splitlines(keepends=True)

    def append(self, line: str) -> None:
        """Add a line, which ends with a newline.

        Raises:
          InputError: lines before it could not be sent; they are kept, as this one is.
        """
        with self._lock:
            self._unsent.append(line)
            error, self._error = self._error, None
            if self._timer is None:
                self._timer = threading.Timer(COLLECT_SECONDS, self._send_in_time)
                self._timer.start()
        if error is not None:
            raise error

    def flush(self) -> None:
        """Send all lines now; return when they are there."""
        with self._sending:
            with self._lock:
                lines, self._unsent = self._unsent, []
                timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
            try:
                if lines:
                    self._write("".join(lines), "")
                self._error = None
            except BaseException:
                with self._lock:
                    self._unsent[:0] = lines
                raise

    def replace(self, lines: Iterable[str]) -> None:
        """Put other lines in the stead of all, at once."""
        with self._sending:
            self.flush()
            before = self._names()
            self._write("".join(lines), "-all")
            for name in before:
                (self.path / name).unlink()

    def _send_in_time(self) -> None:
        """In the timer's thread; what goes wrong is told to who appends next."""
        try:
            self.flush()
        except BaseException as error:
            self._error = error

    def _write(self, content: str, kind: str) -> None:
        if self._next is None:
            self._next = max((int(name[:8]) for name in self._names()), default=0) + 1
        write_whole(self.path / f"{self._next:08d}{kind}.jsonl", content)
        self._next += 1

    def _names(self) -> list[str]:
        """Of all objects, in the order of their numbers."""
        there = self.path.iterdir() if self.path.is_dir() else ()
        return sorted(path.name for path in there if _PART.fullmatch(path.name))

    def _current(self) -> list[str]:
        """Of those that nothing is in the stead of."""
        names = self._names()
        starts = [i for i, name in enumerate(names) if _PART.fullmatch(name)[2]]
        return names[starts[-1] if starts else 0 :]


def line_file(path: Path) -> LineFile | LineFolder:
    """Where lines are kept: in a file on the disk, or in a folder of objects."""
    return LineFolder(path) if is_remote(path) else LineFile(path)
