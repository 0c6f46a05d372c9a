"""Regret of any agents in any beds: each leaves its result, and is not run again."""

from __future__ import annotations

import dataclasses
import functools
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import jax

from sophia_jax.average_reward import ContradictedOptimism, EmptyConfidenceSet
from sophia_jax.preemption import stop_if_preempted
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.regret.beds import make_bed
from sophia_jax.recipes.regret.cells import defined_by, run_cell
from sophia_jax.recipes.regret.claims import check_claims
from sophia_jax.recipes.regret.findings import compare_to_ucrl2, summarize_cell
from sophia_jax.recipes.regret.sizes import Cell, RegretConfig
from sophia_jax.recipes.run_folder import read_seconds, stopwatch, write_json
from sophia_jax.recipes.side_by_side import side_by_side
from sophia_jax.types import Track, untracked

__all__ = ["run_regret"]

AT_ONCE = 2  # cells: steps of a small MDP keep one core busy


def run_regret(
    folder: Path,
    config: RegretConfig,
    *,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Run every agent in every bed that `folder` does not hold yet.

    Args:
      folder: of the run; an agent that left its result there is not run again, unless
        it was another's: of another factor of the scale, say.
      config: all sizes.
      track: shows the agents.
      say: prints what is cut short, and what is left to do.

    Returns:
      What is written to `summary.json`.

    Raises:
      Preempted: it was told to stop; agents that were done are kept.
    """
    cells = config.cells()
    changes = {cell: _changes(folder, cell, config) for cell in cells}
    missing = [cell for cell, changed in changes.items() if changed is not None]
    for line in [*shorter(cells, config), *again(changes)]:
        say(line)
    say(f"runs       {len(cells)} agents in beds, {len(missing)} of them run now")
    with stopwatch(folder, "runs"), warnings.catch_warnings():
        # They are counted, and told on the page.
        warnings.simplefilter("ignore", EmptyConfidenceSet)
        warnings.simplefilter("ignore", ContradictedOptimism)
        if missing:
            _run_cells(missing, config, folder, track)
    done = [json.loads(_path(folder, cell).read_text()) for cell in cells]
    summary = _summary(folder, done, config)
    write_json(folder / "summary.json", summary)
    return summary


def shorter(cells: list[Cell], config: RegretConfig) -> list[str]:
    """A line for each agent that is given fewer steps than the others."""
    cut = {
        cell.agent: cell for cell in cells if cell.num_steps < config.num_steps
    }.values()
    return [
        f"shorter    {cell.agent} plans at nearly every step: {cell.num_steps:,} steps "
        f"of {cell.num_seeds} seed{'s'[: cell.num_seeds - 1]}, not {config.num_steps:,}"
        for cell in cut
    ]


def again(changes: Mapping[Cell, list[str] | None]) -> list[str]:
    """A line for each agent that is run although it has left a result."""
    return [
        f"again      {cell.agent} in {cell.bed}: {', '.join(changed)}"
        for cell, changed in changes.items()
        if changed
    ]


def _changes(folder: Path, cell: Cell, config: RegretConfig) -> list[str] | None:
    """What makes the result that is there another one; None where it may stay."""
    path, now = _path(folder, cell), defined_by(cell, config.num_records)
    if not path.exists():
        return []
    before = json.loads(path.read_text()).get("defined_by")
    if before is None:
        return ["left by an earlier version"]
    changed = [
        f"{name} was {before.get(name)}, is {value}"
        for name, value in now.items()
        if before.get(name) != value
    ]
    return changed or None


def _path(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell.name}.json"


def _run_cells(
    cells: list[Cell], config: RegretConfig, folder: Path, track: Track
) -> None:
    """Each leaves its result when it is done."""
    (folder / "cells").mkdir(parents=True, exist_ok=True)

    def run_share(share: list[Cell], track: Track) -> None:
        for cell in track(share, "agents", len(share)):
            stop_if_preempted()
            write_json(_path(folder, cell), run_cell(cell, config.num_records))

    shares = [cells[number::AT_ONCE] for number in range(AT_ONCE)]
    side_by_side(track, *(functools.partial(run_share, s) for s in shares if s))
    jax.clear_caches()  # programs hold their agents' tables


def _summary(folder: Path, done: list[dict], config: RegretConfig) -> dict:
    cells = [summarize_cell(each) for each in done]
    comparisons = compare_to_ucrl2(done)
    beds = {name: make_bed(name) for name in config.beds}
    return {
        "kind": "regret",
        "claims": check_claims(cells, comparisons),
        "comparisons": comparisons,
        "cells": cells,
        "beds": {
            name: {
                "gain": bed.gain,
                "span": bed.span,
                "num_states": bed.mdp.num_states,
                "num_actions": bed.mdp.num_actions,
            }
            for name, bed in beds.items()
        },
        "seconds": read_seconds(folder),
        "versions": versions(),
        "machine": machine(),
        "settings": dataclasses.asdict(config),
    }
