"""The page of `sophia-jax scale`: error against k, T, judge and difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sophia_jax.viz.summary_page import SummaryPage

__all__ = ["PAGE"]


def _shown(summary: Mapping[str, Any], figures: Any) -> dict[str, Any]:
    """What the template shows."""
    settings, points = summary["settings"], summary["points"]
    middle = settings["difficulties"][(len(settings["difficulties"]) - 1) // 2]
    by_samples = [
        (t, figures.error_by_samples(points, difficulty=middle, t=t))
        for t in settings["temperatures"]
    ]
    many = settings["num_samples"][-1]
    return {
        "summary": summary,
        "middle": middle,
        "many": many,
        "by_samples": by_samples,
        "by_temperature": figures.error_by_temperature(points, middle, many),
        "by_judge": figures.error_by_judge(points, middle, many),
        "by_difficulty": figures.error_by_difficulty(points),
        "counts": _counts(points),
        "number": lambda value: f"{value:.4g}",
        "difference": lambda point: point["theory"] / point["simulated"] - 1,
    }


def _counts(points: list[Mapping]) -> dict[str, int]:
    verdicts = [point["verdict"] for point in points]
    return {name: verdicts.count(name) for name in ("inside", "above", "below")}


PAGE = SummaryPage(
    "scale.html.jinja", _shown, figures="scale_curves", what="`sophia-jax scale`"
)
