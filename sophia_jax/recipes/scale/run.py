"""Best-of-k and reward-weighted sampling in Bayesian regression, beside theory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sophia_jax.preemption import stop_if_preempted
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.run_folder import read_seconds, stopwatch, write_json
from sophia_jax.recipes.scale.findings import best_choices, compared_points
from sophia_jax.recipes.scale.prediction import equivalent_of, predicted_errors
from sophia_jax.recipes.scale.regression import draw_task, errors_of_draw
from sophia_jax.recipes.scale.sizes import ScaleConfig
from sophia_jax.types import Track, untracked

__all__ = ["run_scale"]


def run_scale(
    folder: Path,
    config: ScaleConfig,
    *,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Simulate every draw and predict every point that `folder` does not hold yet.

    Args:
      folder: of the run; draws that left their result there are not made again.
      config: all sizes.
      track: shows the draws.
      say: prints a line for each difficulty.

    Returns:
      What is written to `summary.json`.

    Raises:
      Preempted: it was told to stop; draws that were written are kept.
    """
    points, equivalents = [], []
    for number, difficulty in enumerate(config.difficulties):
        of_difficulty = folder / f"difficulty-{number}"
        task = draw_task(config, difficulty)
        equivalent = equivalent_of(config, task)
        with stopwatch(folder, "simulation"):
            simulated = _simulated(of_difficulty, config, number, track)
        with stopwatch(folder, "theory"):
            theory = {
                name: _once(
                    of_difficulty / f"{name}.json",
                    lambda corrected=corrected, task=task: predicted_errors(
                        config, task, corrected=corrected
                    ).tolist(),
                )
                for name, corrected in (("theory", True), ("uncorrected", False))
            }
        numbers = {name: float(getattr(equivalent, name)) for name in ("s2", "q", "v")}
        equivalents.append({"difficulty": difficulty, "R": float(equivalent.R)})
        equivalents[-1] |= numbers
        points += compared_points(config, difficulty, simulated, theory)
        say(f"difficulty {difficulty:g}: {len(simulated)} draws")
    summary = {
        "kind": "scale",
        "equivalents": equivalents,
        "best": best_choices(config, points),
        "points": points,
        "seconds": read_seconds(folder),
        "versions": versions(),
        "machine": machine(),
        "settings": dataclasses.asdict(config),
    }
    write_json(folder / "summary.json", summary)
    return summary


def _simulated(
    folder: Path, config: ScaleConfig, number: int, track: Track
) -> np.ndarray:
    """Errors of all draws of one difficulty, Float[draw judge temperature k]."""
    task = draw_task(config, config.difficulties[number])
    spread = equivalent_of(config, task).s2
    temperatures = 2 * float(spread) * np.array(config.temperatures)

    def shard(first: int) -> list:
        last = min(first + config.draws_per_shard, config.draws)
        return [
            errors_of_draw(config, task, temperatures, draw).tolist()
            for draw in range(first, last)
        ]

    starts = range(0, config.draws, config.draws_per_shard)
    found: list = []
    name = f"difficulty {config.difficulties[number]:g}"
    for first in track(starts, name, len(starts)):
        stop_if_preempted()
        path = folder / f"draws-{first:06d}.json"
        found += _once(path, lambda first=first: shard(first))
    return np.array(found)


def _once(path: Path, make: Callable[[], list]) -> list:
    """What is in the file, made and written where it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, make())
    return json.loads(path.read_text())
