"""The comparison's two figures: arms against the full one, and along each axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sophia_jax.viz.curves import INK, SOFT, SOPHIA, STYLE, as_svg, new_axes

__all__ = ["difference_figure", "sweep_figure"]

WIDTH, HEIGHT = 7.2, 2.7  # inches of the panels side by side
FAR = 20.0  # points from the full arm beyond which a place would hide the others


def difference_figure(arms: Mapping[str, Mapping[str, Any]], full: str) -> str:
    """pass@1 of each arm minus that of the full one, with 95 % intervals.

    Args:
      arms: of the comparison's summary.
      full: the name of the arm that the others are compared with.

    Returns:
      The SVG element; empty where no arm is compared.
    """
    compared = {
        name: arm["difference"]
        for name, arm in arms.items()
        if name != full and arm["difference"] is not None
    }
    if not compared:
        return ""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(0.8 + 0.24 * len(compared))
        axes.grid(axis="x")
        axes.axvline(0, color=INK, linewidth=1.2)
        for place, difference in enumerate(compared.values()):
            _difference(axes, place, difference)
        axes.set_yticks(range(len(compared)), list(compared))
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel=f"pass@1 minus that of {full}, points")
        means = [f"{name} {100 * d['mean']:+.1f}" for name, d in compared.items()]
        return as_svg(figure, f"pass@1 against {full}, in points: {', '.join(means)}")


def _difference(axes: Axes, place: int, difference: Mapping[str, Any]) -> None:
    """A point with its interval; of one that is far away the number, at the edge."""
    mean = 100 * difference["mean"]
    low, high = (100 * end for end in difference["interval"])
    color = INK if low <= 0 <= high else SOPHIA
    if abs(mean) > FAR:
        left = mean < 0
        words = f"‹ {mean:+.1f}" if left else f"{mean:+.1f} ›"
        axes.text(
            0.01 if left else 0.99,
            place,
            words,
            transform=axes.get_yaxis_transform(),
            ha="left" if left else "right",
            va="center",
            color=color,
        )
        return
    axes.plot([low, high], [place] * 2, color=color, linewidth=1.6)
    axes.plot(mean, place, "o", color=color, markersize=5)


def sweep_figure(
    sweeps: Mapping[str, Sequence[Mapping[str, Any]]],
    arms: Mapping[str, Mapping[str, Any]],
) -> str:
    """pass@1 along each axis, with 95 % intervals.

    Args:
      sweeps: of the comparison's summary.
      arms: likewise.

    Returns:
      The SVG element; empty where no axis has two points.
    """
    drawn = {axis: points for axis, points in sweeps.items() if len(points) > 1}
    if not drawn:
        return ""
    described = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        for axes, (axis, points) in zip(panels, drawn.items(), strict=True):
            values = [point["value"] for point in points]
            scores = [arms[point["arm"]]["pass@1"] for point in points]
            axes.grid(axis="y")
            axes.plot(values, [100 * s["mean"] for s in scores], "o-", color=SOPHIA)
            for value, score in zip(values, scores, strict=True):
                ends = [100 * end for end in score["interval"]]
                axes.plot([value] * 2, ends, color=INK, linewidth=1.2)
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.set(xlabel=axis)
            axes.tick_params(axis="x", color=SOFT)
            described += [
                f"{axis} {value:g}: {100 * score['mean']:.1f} %"
                for value, score in zip(values, scores, strict=True)
            ]
        panels[0].set(ylabel="pass@1, %")
        return as_svg(figure, f"pass@1 along three axes: {', '.join(described)}")
