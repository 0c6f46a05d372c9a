"""The page of a comparison: a table of arms, two figures, and the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from sophia_jax.viz.summary_page import SummaryPage

__all__ = ["PAGE"]

FULL = "sophia"


def _shown(summary: Mapping[str, Any], figures: ModuleType) -> dict[str, Any]:
    """What the template shows."""
    arms = summary["arms"]
    return {
        "summary": summary,
        "full": FULL,
        "num_questions": len(summary["seeds"]) * summary["settings"]["held_out"],
        "difference_figure": figures.difference_figure(arms, FULL),
        "sweep_figure": figures.sweep_figure(summary["sweeps"], arms),
        "verdicts": _counted(summary["claims"]),
    }


def _counted(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many of the paper's claims come to each verdict."""
    verdicts = [claim["verdict"] for claim in claims]
    return {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}


PAGE = SummaryPage(
    "comparison.html.jinja",
    _shown,
    figures="arm_curves",
    what="`sophia-jax compare`",
)
