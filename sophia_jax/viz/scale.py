"""The page of `sophia-jax scale`: error against k, T, judge and difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sophia_jax.viz.summary_page import summary_kind, write_summary_page

__all__ = ["is_scale", "write_scale_page"]

KIND = "scale"


def is_scale(run_folder: str | Path) -> bool:
    """Whether a folder's summary is of `sophia-jax scale`."""
    return summary_kind(run_folder) == KIND


def write_scale_page(run_folder: str | Path) -> Path:
    """Write `report.html` into the folder of a run of `sophia-jax scale`.

    The same summary gives the same bytes; a page that was there is replaced at once.

    Args:
      run_folder: as the command leaves it, whole.

    Returns:
      The path of the page.

    Raises:
      InputError: the summary is damaged, or the extra `viz` is not installed.
    """
    return write_summary_page(
        run_folder,
        "scale.html.jinja",
        _shown,
        figures="scale_curves",
        what="`sophia-jax scale`",
    )


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
