"""Metrics of a run: one JSON line a step, and TensorBoard events beside it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sophia_jax.buckets import send
from sophia_jax.paths import is_remote

__all__ = ["MetricsWriter", "read_metrics"]


LINES = "metrics.jsonl"


class MetricsWriter:
    """Appends metrics to `folder/metrics.jsonl` and to TensorBoard event files.

    To a bucket nothing can be appended: there both are kept on the disk, and sent whole
    by `flush` and `close` where they have grown.

    Args:
      folder: made if it does not exist.
      first_step: lines of this step and later ones are dropped, as a resumed run
        writes them again.
    """

    def __init__(self, folder: Path, *, first_step: int = 0):
        from tensorboardX import SummaryWriter

        self._bucket, self._temporary = None, None
        self._sent: dict[str, int] = {}  # sizes
        if is_remote(folder):
            self._temporary = tempfile.TemporaryDirectory()
            self._bucket, folder = folder, Path(self._temporary.name)
            before = self._bucket / LINES
            if before.exists():
                (folder / LINES).write_bytes(before.read_bytes())
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LINES
        path.touch()
        os.truncate(path, _end_of_steps_before(path, first_step))
        self._lines = path.open("a")
        self._events = SummaryWriter(str(folder), purge_step=first_step)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note one step's metrics."""
        self._lines.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Put what was written on the disk, or into the bucket."""
        self._lines.flush()
        self._events.flush()
        self._send()

    def close(self) -> None:
        self._lines.close()
        self._events.close()
        try:
            self._send()
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()

    def _send(self) -> None:
        if self._bucket is None:
            return
        for file in sorted(Path(self._temporary.name).iterdir()):
            size = file.stat().st_size
            if size != self._sent.get(file.name):
                send(file, self._bucket / file.name)
                self._sent[file.name] = size


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics file; a last line that was cut off is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in _whole_lines(path)]


def _whole_lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().splitlines(keepends=True)
    return [line for line in lines if line.endswith(b"\n")]


def _end_of_steps_before(path: Path, first_step: int) -> int:
    """Where the lines of the steps before `first_step` end, in bytes."""
    lines = _whole_lines(path)
    return sum(len(line) for line in lines if json.loads(line)["step"] < first_step)
