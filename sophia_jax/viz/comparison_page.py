"""The page of a comparison: a table of arms, two figures, and the paper's figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sophia_jax.paths import as_path, write_whole
from sophia_jax.types import InputError
from sophia_jax.viz.report import figures_of
from sophia_jax.viz.templates import load_template

__all__ = ["is_comparison", "write_comparison_page"]

FULL = "sophia"


def is_comparison(run_folder: str | Path) -> bool:
    """Whether a folder's summary is of several arms."""
    path = as_path(run_folder) / "summary.json"
    try:
        summary = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and {"arms", "claims", "sweeps"} <= summary.keys()


def write_comparison_page(run_folder: str | Path) -> Path:
    """Write `report.html` into the folder of a comparison.

    The same summary gives the same bytes; a page that was there is replaced at once.

    Args:
      run_folder: as `sophia-jax compare` leaves it, whole.

    Returns:
      The path of the page.

    Raises:
      InputError: there is no summary, or it is not of a comparison, or the extra `viz`
        is not installed.
    """
    run_folder = as_path(run_folder)
    if not is_comparison(run_folder):
        raise InputError(
            f"{run_folder / 'summary.json'}: expected the summary of a comparison"
        )
    summary = json.loads((run_folder / "summary.json").read_text())
    path = run_folder / "report.html"
    write_whole(path, _page(summary) + "\n")
    return path


def _page(summary: dict[str, Any]) -> str:
    curves = figures_of("arm_curves")
    arms = summary["arms"]
    return load_template("comparison.html.jinja").render(
        summary=summary,
        full=FULL,
        num_questions=len(summary["seeds"]) * summary["settings"]["held_out"],
        difference_figure=curves.difference_figure(arms, FULL),
        sweep_figure=curves.sweep_figure(summary["sweeps"], arms),
        verdicts=_counted(summary["claims"]),
    )


def _counted(claims: list[dict[str, Any]]) -> dict[str, int]:
    """How many of the paper's claims come to each verdict."""
    verdicts = [claim["verdict"] for claim in claims]
    return {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
