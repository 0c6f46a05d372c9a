"""Which checkpoints stay: the newest ones, and the best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from orbax.checkpoint.checkpoint_managers import PreservationPolicy

__all__ = ["METRICS", "Kept"]

METRICS = {
    "loss": "lowest",
    "gradient_norm": "lowest",
    "mean_log_prob": "highest",
}
"""By which a checkpoint may be the best, and what is best of each."""


class Kept(PreservationPolicy):
    """The newest checkpoints and the best one.

    Orbax's own notes of metrics are not used: a damaged one keeps its folder shut.

    Attributes:
      metrics: of each step, as far as they are known.
    """

    def __init__(self, folder: Path, max_to_keep: int, keep_best: str | None):
        if max_to_keep < 1:
            raise ValueError(f"max_to_keep: expected >= 1, got {max_to_keep}")
        if keep_best not in (None, *METRICS):
            raise ValueError(
                f"keep_best: expected one of {list(METRICS)}, got {keep_best}"
            )
        self._max_to_keep = max_to_keep
        self._keep_best = keep_best
        self.metrics: dict[int, Mapping[str, float]] = {
            int(path.parent.parent.name): _read_metrics(path)
            for path in folder.glob("*/metadata/metadata")
            if path.parent.parent.name.isdecimal()
        }

    def should_preserve(
        self, checkpoints: Sequence, *, context: object
    ) -> Sequence[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*sorted(steps)[-self._max_to_keep :], self.best(steps)}
        return [step in kept for step in steps]

    def best(self, steps: Sequence[int]) -> int | None:
        """The best of some steps; the newest of equals."""
        sign = -1 if METRICS.get(self._keep_best) == "lowest" else 1
        values = {
            step: (sign * self.metrics[step][self._keep_best], step)
            for step in steps
            if self._keep_best in self.metrics.get(step, {})
        }
        return max(values, key=values.get, default=None)


def _read_metrics(path: Path) -> Mapping[str, float]:
    """Of a checkpoint; nothing where it is damaged, which is found when it is read."""
    try:
        metrics = json.loads(path.read_text())["metrics"]
        return {name: float(value) for name, value in metrics.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
