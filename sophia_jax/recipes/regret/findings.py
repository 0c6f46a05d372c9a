"""What the runs of all agents come to: fits, coverage, and who regrets less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sophia_jax.evaluation.metrics import wilson_interval
from sophia_jax.evaluation.regret import (
    growth_of_switches,
    log_log_slope,
    regret_band,
    regret_difference,
    switches_by_decade,
    switches_per_decade,
)
from sophia_jax.recipes.regret.agents import AGENTS, THEORY, TUNED

__all__ = ["ABOVE", "BELOW", "compare_to_ucrl2", "summarize_cell"]

BELOW, ABOVE, OPEN = "below", "above", "not decided"
RIVALS = {TUNED: "ucrl2", THEORY: "ucrl2-theory"}
STRUCTURED = {
    "loop-models": "a finite class",
    "loop-values": "a finite class",
    "loop-likelihood": "a finite class",
    "loop-mixture": "a linear mixture",
}


def summarize_cell(cell: Mapping) -> dict:
    """What a page tells of an agent in a bed.

    Args:
      cell: of `run_cell`.

    Returns:
      The agent's scale in words, its curve with band, its fits with their intervals,
      and coverage with Wilson's interval.
    """
    entry = AGENTS[cell["agent"]]
    costs, steps = np.asarray(cell["pseudo_regret"]), np.asarray(cell["steps"])
    seeds, band = len(costs), regret_band(costs)
    paid = regret_band(np.asarray(cell["regret"]))
    switch_step = [np.asarray(each) for each in cell["switch_step"]]
    noted = all(
        len(steps) == count
        for steps, count in zip(switch_step, cell["switches"], strict=True)
    )
    fitted = (cell["num_steps"], switch_step)
    return {
        **{name: cell[name] for name in ("agent", "bed", "num_steps", "steps")},
        **{name: cell[name] for name in ("seconds", "believed", "empty")},
        "family": entry.family,
        "scale": entry.scale,
        "scale_words": scale_words(cell["agent"]),
        "num_seeds": seeds,
        "curve": band,
        "pseudo_regret": _end(band, seeds),
        "regret": _end(paid, seeds),
        "slope": log_log_slope(steps, costs),
        "switches": float(np.mean(cell["switches"])),
        "switches_per_decade": switches_per_decade(*fitted) if noted else None,
        "growth_of_switches": growth_of_switches(*fitted) if noted else None,
        "switches_by_decade": switches_by_decade(*fitted).mean(0).tolist(),
        "contradicted": int(np.sum(cell["contradicted"])),
        "coverage": _coverage(cell["covered"]),
    }


def scale_words(agent: str) -> str:
    """Whether an agent's confidence scale is the theory's, plainly."""
    entry = AGENTS[agent]
    if entry.scale == THEORY:
        return "theoretical"
    if entry.scale == TUNED:
        return f"tuned: {entry.factor:g} of the theory's"
    return entry.why


def _end(band: Mapping, seeds: int) -> tuple[float, tuple[float, float] | None]:
    """The last mean, with its interval if there is one."""
    low, high = band["low"][-1], band["high"][-1]
    return band["mean"][-1], (low, high) if seeds > 1 else None


def _coverage(covered: Sequence[bool] | None) -> dict | None:
    """In how many runs the truth was in the set at every switch."""
    if covered is None:
        return None
    inside, total = int(sum(covered)), len(covered)
    return {
        "inside": inside,
        "num_runs": total,
        "share": inside / total,
        "interval": wilson_interval(inside, total),
    }


def compare_to_ucrl2(cells: Sequence[Mapping]) -> list[dict]:
    """Whether each LOOP regrets less than UCRL2 with a scale of the same kind.

    Args:
      cells: of `run_cell`.

    Returns:
      Of each LOOP in each bed where both had as many steps: the difference of mean
      pseudo-regret at the end, its interval, and the `verdict`.
    """
    by_place = {(each["bed"], each["agent"]): each for each in cells}
    found = []
    for (bed, agent), cell in by_place.items():
        entry = AGENTS[agent]
        rival = by_place.get((bed, RIVALS.get(entry.scale, "")))
        if entry.family != "LOOP" or rival is None:
            continue
        if rival["num_steps"] != cell["num_steps"]:
            continue
        apart, interval = regret_difference(_last(cell), _last(rival))
        found.append(
            {
                "bed": bed,
                "agent": agent,
                "rival": rival["agent"],
                "scale": entry.scale,
                "structure": STRUCTURED.get(agent.removesuffix("-theory"), ""),
                "difference": apart,
                "interval": interval,
                "verdict": _verdict(interval),
            }
        )
    return found


def _last(cell: Mapping) -> np.ndarray:
    return np.asarray(cell["pseudo_regret"], float)[:, -1]


def _verdict(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return OPEN
    return BELOW if interval[1] < 0 else ABOVE if interval[0] > 0 else OPEN
