"""Errors of inference with a judge as figures: lines are theory, points simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, NullFormatter

from sophia_jax.viz.curves import BASE, INK, SOPHIA, STYLE, as_svg, new_axes
from sophia_jax.viz.frontier_curves import THIRD

__all__ = [
    "error_by_difficulty",
    "error_by_judge",
    "error_by_samples",
    "error_by_temperature",
]

COLORS = (SOPHIA, THIRD, BASE, INK)
NAMES = {
    "judge_error": "judge's error",
    "t": "t",
    "difficulty": "difficulty",
}
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


def error_by_samples(points: Sequence[Mapping], *, difficulty: float, t: float) -> str:
    """The error against k, at one difficulty and temperature, for each judge.

    Args:
      points: of the summary.
      difficulty: of the teacher.
      t: temperature, T / 2s².

    Returns:
      The SVG element.
    """
    chosen = [p for p in points if p["difficulty"] == difficulty and p["t"] == t]
    title = f"Error against the number of answers at t = {t:g}"
    return _figure(chosen, "k", "judge_error", "answers to choose from, k", title)


def error_by_temperature(points: Sequence[Mapping], difficulty: float, k: int) -> str:
    """The error against temperature, at one difficulty and k, for each judge."""
    chosen = [p for p in points if p["difficulty"] == difficulty and p["k"] == k]
    title = f"Error against temperature at k = {k}"
    return _figure(chosen, "t", "judge_error", "temperature, t = T / 2s²", title)


def error_by_judge(points: Sequence[Mapping], difficulty: float, k: int) -> str:
    """The error against the judge's, at one difficulty and k, for each temperature."""
    chosen = [p for p in points if p["difficulty"] == difficulty and p["k"] == k]
    title = f"Error against the judge's at k = {k}"
    return _figure(chosen, "judge_error", "t", "judge's error, root mean square", title)


def error_by_difficulty(points: Sequence[Mapping]) -> str:
    """The error of best-of-k with the best of the judges, for each difficulty."""
    least = min(p["judge_error"] for p in points)
    coldest = min(p["t"] for p in points)
    chosen = [p for p in points if p["judge_error"] == least and p["t"] == coldest]
    title = "Error against the number of answers, by difficulty"
    return _figure(chosen, "k", "difficulty", "answers to choose from, k", title)


def _figure(
    points: Sequence[Mapping], across: str, by: str, label: str, title: str
) -> str:
    """Lines and points over one number, for each value of another."""
    values = sorted({point[by] for point in points})
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(3.4)
        axes.grid()
        for number, value in enumerate(values):
            rows = sorted(
                (p for p in points if p[by] == value), key=lambda p: p[across]
            )
            _draw(axes, rows, across, number, f"{value:g}")
        _scale(axes, points, across)
        axes.legend(fontsize=8, title=NAMES[by], title_fontsize=8)
        axes.set(xlabel=label, ylabel="mean squared error")
        return as_svg(figure, title)


def _draw(
    axes: Axes, rows: Sequence[Mapping], across: str, number: int, label: str
) -> None:
    color, mark = COLORS[number % len(COLORS)], MARKS[number % len(MARKS)]
    style = ("-", "--", ":")[number // len(COLORS) % 3]
    places = [row[across] for row in rows]
    axes.plot(places, _all(rows, "theory"), style, color=color, linewidth=1.4)
    axes.plot(
        places, _all(rows, "simulated"), mark, color=color, markersize=3.5, label=label
    )
    for row in rows:
        axes.plot([row[across]] * 2, row["interval"], color=color, linewidth=0.9)


def _all(rows: Sequence[Mapping], name: str) -> list[float]:
    return [row[name] for row in rows]


def _scale(axes: Axes, points: Sequence[Mapping], across: str) -> None:
    """Logarithmic axes where numbers are far apart, straight next to a zero."""
    errors = [
        each for point in points for each in (point["theory"], *point["interval"])
    ]
    if max(errors) > 10 * min(errors) > 0:  # else a straight axis shows more
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatter())  # as plain text
        axes.yaxis.set_minor_formatter(NullFormatter())
    places = sorted({point[across] for point in points})
    positive = [place for place in places if place > 0]
    if across == "k":
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    elif across == "t" and positive:
        axes.set_xscale("symlog", linthresh=positive[0])
        axes.set_xticks(places, [f"{place:g}" for place in places])
