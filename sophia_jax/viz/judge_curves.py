"""Accuracy against k under one judge: measured, and foretold on other questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from sophia_jax.viz.curves import BASE, INK, SOPHIA, STYLE, as_svg, new_axes
from sophia_jax.viz.frontier_curves import THIRD

__all__ = ["accuracy_limits", "judge_panel"]

HEIGHT = 3.2  # inches
LINES = {"majority": (BASE, (4, 2)), "pass": (INK, (1, 2))}


def accuracy_limits(
    curves: Sequence[Mapping[str, Any]],
    references: Mapping[str, Sequence[float]] | None = None,
) -> tuple[float, float]:
    """The least and the most that panels side by side show, in per cent.

    Args:
      curves: of `sophia_jax.evaluation.judge_forecast.forecast`.
      references: accuracies by their names, or None.
    """
    shown = [
        np.ravel(curve[name])
        for curve in curves
        for name in ("measured_interval", "predicted_interval")
    ]
    shown += [np.ravel(values) for values in (references or {}).values()]
    values = 100 * np.concatenate(shown)
    low, high = float(values.min()), float(values.max())
    room = 0.04 * max(high - low, 1.0)
    return max(low - room, 0.0), min(high + room, 100.0)


def judge_panel(
    name: str,
    curve: Mapping[str, Any],
    best: Mapping[str, Any],
    *,
    limits: tuple[float, float],
    references: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """One judge at one temperature.

    What is measured and what was foretold are lines in their 95 % bands, and upright
    ones where they are highest, unless that is at the largest k or beyond.

    Args:
      name: of the judge.
      curve: of `forecast`, its own of `best_num_samples` in
      best: and
      limits: of the accuracy, in per cent.
      references: `pass` and `majority` at each k, or None.

    Returns:
      The SVG element.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(HEIGHT)
        ks = curve["k"]
        for reference, values in (references or {}).items():
            color, dashes = LINES[reference]
            label = f"{reference}@k"
            axes.plot(
                ks, _percent(values), color=color, linestyle=(0, dashes), label=label
            )
        _line(axes, curve, "predicted", THIRD, (0, (5, 2)), "foretold")
        _line(axes, curve, "measured", SOPHIA, "-", "measured")
        for kind, color, style in (
            ("predicted", THIRD, (0, (5, 2))),
            ("measured", SOPHIA, "-"),
        ):
            if best[kind] is not None and best[kind] < max(ks):
                axes.axvline(best[kind], color=color, linestyle=style, linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ks, [str(k) for k in ks], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(axis="y")
        axes.set(xlabel="k, answers to a question", ylabel="right, %", ylim=limits)
        axes.legend(fontsize=8, labelcolor=INK)
        return as_svg(figure, _description(name, curve, best))


def _line(
    axes: Axes,
    curve: Mapping[str, Any],
    kind: str,
    color: str,
    style: Any,
    label: str,
) -> None:
    low, high = _percent(curve[f"{kind}_interval"]).T
    axes.fill_between(curve["k"], low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(
        curve["k"],
        _percent(curve[kind]),
        color=color,
        linestyle=style,
        linewidth=1.6,
        marker="o" if kind == "measured" else "",
        markersize=3,
        label=label,
    )


def _percent(values: Sequence) -> np.ndarray:
    return 100 * np.array(values)


def _description(name: str, curve: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    last = curve["k"][-1]
    told, found = best["predicted"], best["measured"]
    return (
        f"{name}, T = {curve['temperature']:g}: accuracy at k = {last} foretold "
        f"{100 * curve['predicted'][-1]:.1f} %, measured "
        f"{100 * curve['measured'][-1]:.1f} %; best k foretold "
        f"{told if told is not None else 'beyond all'}, measured "
        f"{found if found is not None else f'{last} or more'}"
    )
