"""Metrics of a run: one JSON line a step, and TensorBoard events beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["MetricsWriter", "read_metrics"]


class MetricsWriter:
    """Appends metrics to `folder/metrics.jsonl` and to TensorBoard event files.

    Args:
      folder: made if it does not exist.
      first_step: lines of this step and later ones are dropped, as a resumed run
        writes them again.
    """

    def __init__(self, folder: Path, *, first_step: int = 0):
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        kept = [row for row in read_metrics(path) if row["step"] < first_step]
        self._lines = path.open("w")
        self._events = SummaryWriter(str(folder), purge_step=first_step)
        for row in kept:
            self._lines.write(json.dumps(row) + "\n")

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note one step's metrics."""
        self._lines.write(json.dumps({"step": step, **metrics}) + "\n")
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Put what was written on the disk."""
        self._lines.flush()
        self._events.flush()

    def close(self) -> None:
        self._lines.close()
        self._events.close()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics file; a last line that was cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
