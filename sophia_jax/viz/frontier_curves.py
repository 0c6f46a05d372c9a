"""Reward against divergence as a figure: one panel for each f."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from sophia_jax.evaluation.frontier import frontier, reward_at
from sophia_jax.viz.curves import (
    BASE,
    INK,
    PAGE_COLORS,
    SOPHIA,
    STYLE,
    as_svg,
    new_axes,
)

__all__ = ["divergence_panel"]

THIRD = "#050505"  # stands in for a colour of this page
PAGE_COLORS[THIRD] = "var(--third, #b7791f)"
MARKS = {"f-DPO": (SOPHIA, "o"), "PPO": (THIRD, "s"), "GRPO": (BASE, "^")}
TOLD = "PPO, true reward"  # an upper bound, and so a line without points
NUM_PLACES = 60


def divergence_panel(summary: Mapping, divergence: str) -> str:
    """What each method earns at each divergence of one kind, and what is best.

    Lines are means over the seeds of each seed's frontier, from what was computed over
    all answers; points are single policies as their samples tell, with the 95 %
    intervals of both axes.

    Args:
      summary: of `run_frontier`.
      divergence: its name.

    Returns:
      The SVG element.
    """
    seeds = [str(seed) for seed in summary["settings"]["seeds"]]
    own = [each for each in summary["points"] if each["divergence"] == divergence]
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(3.4)
        axes.grid()
        axes.set_xlim(0, 1.05 * max(p["divergences"][divergence] for p in own))
        best = [summary["optimum"][divergence][seed] for seed in seeds]
        _line(axes, [_corners(c, "divergence") for c in best], INK, "best possible")
        for method, (color, marker) in MARKS.items():
            points = [point for point in own if point["method"] == method]
            _cloud(axes, points, divergence, color, marker)
            of_seeds = [[p for p in points if str(p["seed"]) == s] for s in seeds]
            corners = [_corners(o, "divergences", divergence) for o in of_seeds]
            _line(axes, corners, color, method)
        told = [point for point in own if point["method"] == TOLD]
        if told:
            of_seeds = [[p for p in told if str(p["seed"]) == s] for s in seeds]
            corners = [_corners(o, "divergences", divergence) for o in of_seeds]
            _line(axes, corners, THIRD, TOLD, dashes="--")
        rest = [point for point in summary["points"] if not point["divergence"]]
        _cloud(axes, rest, divergence, INK, "x")
        axes.plot([], [], color=INK, marker="x", linestyle="", label="SFT on the best")
        axes.legend(fontsize=8, loc="lower right")
        axes.set(xlabel=f"{divergence} from the reference", ylabel="reward")
        return as_svg(figure, f"Reward against {divergence}, of f-DPO, PPO and GRPO")


def _cloud(
    axes: Axes, points: Sequence[Mapping], divergence: str, color: str, marker: str
) -> None:
    """Single policies, with the intervals that their samples give."""
    for point in points:
        place = point["divergences_sampled"][divergence]
        low, high = point["divergence_intervals"][divergence]
        bottom, top = point["reward_interval"]
        height = point["reward_sampled"]
        axes.plot([low, high], [height] * 2, color=color, linewidth=0.7, alpha=0.4)
        axes.plot([place] * 2, [bottom, top], color=color, linewidth=0.7, alpha=0.4)
        axes.plot(place, height, marker, color=color, markersize=3, alpha=0.6)


def _line(
    axes: Axes,
    frontiers: Sequence[np.ndarray],
    color: str,
    label: str,
    dashes: str = "-",
) -> None:
    """The mean over seeds, as far as all of them reach; wide where they are apart."""
    end = min(corners[-1, 0] for corners in frontiers)
    places = np.linspace(0, end, NUM_PLACES)
    heights = np.array([reward_at(corners, places) for corners in frontiers])
    axes.plot(
        places,
        heights.mean(0),
        color=color,
        linewidth=1.8,
        linestyle=dashes,
        label=label,
    )
    axes.fill_between(
        places, heights.min(0), heights.max(0), color=color, alpha=0.08, linewidth=0
    )


def _corners(
    points: Sequence[Mapping], key: str, divergence: str | None = None
) -> np.ndarray:
    """The frontier of some points."""
    places = [p[key] if divergence is None else p[key][divergence] for p in points]
    return frontier(np.array(places), np.array([p["reward"] for p in points]))
