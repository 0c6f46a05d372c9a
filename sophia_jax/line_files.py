"""Lines that are there for good once they are written, on a disk or in a bucket."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from sophia_jax.paths import is_remote, write_whole

__all__ = ["LineFile", "line_file"]

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

    def replace(self, lines: Iterable[str]) -> None:
        """Put other lines in the stead of all, at once."""
        write_whole(self.path, "".join(lines))


class LineFolder:
    """The same in a bucket, where nothing can be appended: a numbered object a line.

    One that ends in `-all` is in the stead of all before it. One process alone writes.

    Args:
      path: of the folder of these objects.
    """

    def __init__(self, path: Path):
        self.path = path
        self._next: int | None = None

    def lines(self) -> Iterator[bytes]:
        """The lines so far."""
        for name in self._current():
            yield from (self.path / name).read_bytes().splitlines(keepends=True)

    def append(self, line: str) -> None:
        """Add a line, which ends with a newline; it takes a request of its own."""
        self._write(line, "")

    def replace(self, lines: Iterable[str]) -> None:
        """Put other lines in the stead of all, at once."""
        before = self._names()
        self._write("".join(lines), "-all")
        for name in before:
            (self.path / name).unlink()

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
