"""Regret against steps as a figure: one panel for each bed and kind of scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from sophia_jax.viz.curves import (
    BASE,
    INK,
    PAGE_COLORS,
    SOPHIA,
    STYLE,
    as_svg,
    new_axes,
)

__all__ = ["coverage_figure", "regret_panel"]

THIRD, FOURTH = "#050505", "#060606"  # stand in for colours of this page
PAGE_COLORS[THIRD] = "var(--third, #b7791f)"
PAGE_COLORS[FOURTH] = "var(--fourth, #7c4d9e)"
LOOP_COLORS = (SOPHIA, THIRD, FOURTH, INK)
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def regret_panel(cells: Sequence[Mapping], title: str) -> str:
    """Pseudo-regret of some agents, with the band of its 95 % intervals.

    Both axes are logarithmic: the square root of T is a line that rises by one decade
    over two.

    Args:
      cells: of the summary, of one bed.
      title: what they have in common.

    Returns:
      The SVG element; empty without a curve above 0.
    """
    shown = [each for each in cells if max(each["curve"]["mean"]) > 0]
    if not shown:
        return ""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(4.6)
        axes.grid()
        others = 0
        for place, cell in enumerate(shown):
            loop = cell["family"] == "LOOP"
            color = LOOP_COLORS[place % len(LOOP_COLORS)] if loop else BASE
            others += not loop
            dashes = "-" if loop else DASHES[others % len(DASHES)]
            _curve(axes, cell, color, dashes)
        axes.set(xscale="log", yscale="log", xlabel="steps", ylabel="pseudo-regret")
        axes.set_title(title, fontsize=10, loc="left")
        for axis in (axes.xaxis, axes.yaxis):  # without the mathematics of 10^n
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
            axis.set_minor_formatter(lambda value, _: "")
        figure.legend(fontsize=8, loc="outside lower center", ncols=3)
        ends = [f"{c['agent']} {c['pseudo_regret'][0]:.0f}" for c in shown]
        return as_svg(figure, f"{title}: pseudo-regret at the end: {', '.join(ends)}")


def _curve(axes: Axes, cell: Mapping, color: str, dashes: object) -> None:
    """What is 0 has no place on the axis, and is left out."""
    steps = np.asarray(cell["steps"], float)
    mean, low, high = (
        np.asarray(cell["curve"][name]) for name in ("mean", "low", "high")
    )
    there = mean > 0
    steps, mean, high = steps[there], mean[there], high[there]
    low = np.maximum(low[there], mean / 20)
    label = cell["agent"]
    axes.plot(steps, mean, color=color, linewidth=1.5, linestyle=dashes, label=label)
    axes.fill_between(steps, low, high, color=color, alpha=0.12, linewidth=0)


def coverage_figure(cells: Sequence[Mapping]) -> str:
    """In which share of runs the truth was in the set at every switch.

    Args:
      cells: of the summary; those without a set are left out.

    Returns:
      The SVG element; empty where no agent has a set.
    """
    shown = [each for each in cells if each["coverage"] is not None]
    if not shown:
        return ""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(0.8 + 0.22 * len(shown))
        axes.grid(axis="x")
        axes.axvline(95, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        for place, cell in enumerate(shown):
            color = SOPHIA if cell["scale"] == "theory" else BASE
            ends = [100 * end for end in cell["coverage"]["interval"]]
            axes.plot(ends, [place] * 2, color=color, linewidth=1.4)
            axes.plot(100 * cell["coverage"]["share"], place, "o", color=color)
        labels = [f"{each['agent']}, {each['bed']}" for each in shown]
        axes.set_yticks(range(len(shown)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set(xlim=(-3, 103), xlabel="runs with the truth in every set, %")
        shares = [
            f"{n} {100 * c['coverage']['share']:.0f} %"
            for n, c in zip(labels, shown, strict=True)
        ]
        return as_svg(figure, f"Coverage: {', '.join(shares)}")
