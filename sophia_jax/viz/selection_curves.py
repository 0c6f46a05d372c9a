"""Accuracy against the number of answers, as it was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from sophia_jax.viz.curves import BASE, INK, SOFT, SOPHIA, STYLE, as_svg, new_axes

__all__ = ["accuracy_by_k"]

_NAME = re.compile(r"(pass|majority|best-of-k|reward-weighted)@(\d+)( T=.*)?")
HEIGHT = 3.0  # inches
SHIFT = 1.03  # of k, between intervals that would hide each other
DASHES = {"pass": (1, 2), "majority": (4, 2)}
STYLES = ("-", (0, (5, 2)), (0, (2, 2)), (0, (1, 1)))  # of one T after another


def accuracy_by_k(summary: Mapping[str, Any]) -> str:
    """Accuracy against k, for each way to choose one of k answers.

    Args:
      summary: of an evaluation with several answers to each question; pass@k, that one
        of them is right, is what no choice exceeds.

    Returns:
      The SVG element, with 95 % intervals; empty where there is a single k.
    """
    curves: dict[str, dict[int, str]] = {}
    for name in summary["intervals"]:
        if match := _NAME.fullmatch(name):
            way = f"{match[1]}{match[3] or ''}"
            curves.setdefault(way, {})[int(match[2])] = name
    curves = {way: names for way, names in curves.items() if max(names) > 1}
    if not curves:
        return ""
    with matplotlib.rc_context(STYLE):
        figure, axes = new_axes(HEIGHT)
        weighted = [way for way in curves if way.startswith("reward-weighted")]
        for place, (way, names) in enumerate(curves.items()):
            number = weighted.index(way) if way in weighted else 0
            beside = SHIFT ** (place - (len(curves) - 1) / 2)
            _measured(axes, way, names, summary, number, beside)
        _label(axes, sorted({k for names in curves.values() for k in names}))
        axes.legend(fontsize=8)
        last = [
            f"{way} {100 * summary[names[max(names)]]:.1f} %"
            for way, names in curves.items()
        ]
        return as_svg(figure, f"Accuracy against k; at the largest: {', '.join(last)}")


def _measured(
    axes: Axes,
    way: str,
    names: Mapping[int, str],
    summary: Mapping[str, Any],
    number: int,
    beside: float,
) -> None:
    """One way's line; all of them start at pass@1."""
    known = {1: "pass@1"} | dict(names)
    ks = np.array(sorted(known))
    values = 100 * np.array([summary[known[k]] for k in ks])
    low, high = 100 * np.array([summary["intervals"][known[k]] for k in ks]).T
    kind = way.partition(" ")[0]
    color = {"pass": SOFT, "majority": BASE, "best-of-k": SOPHIA}.get(kind, INK)
    style = (0, DASHES[kind]) if kind in DASHES else STYLES[number % len(STYLES)]
    axes.plot(ks, values, color=color, linestyle=style, linewidth=1.6, label=way)
    axes.vlines(ks * beside, low, high, color=color, linewidth=0.8)


def _label(axes: Axes, ks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, list(map(str, ks)), minor=False)
    axes.set_xticks([], minor=True)
    axes.grid(axis="y")
    axes.set(xlabel="k, answers to a question", ylabel="right, %")
