"""The page of a comparison by regret: curves, fits, coverage, and what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from sophia_jax.viz.summary_page import SummaryPage

__all__ = ["PAGE"]

VERDICTS = ("met", "missed", "not told")
SCALES = {
    "tuned": "tuned scales, and agents without a set",
    "theory": "theoretical scales",
}


def _shown(summary: Mapping[str, Any], figures: ModuleType) -> dict[str, Any]:
    """What the template shows."""
    cells, claims = summary["cells"], summary["claims"]
    verdicts = [each["verdict"] for each in claims]
    longest = max(each["num_steps"] for each in cells)
    return {
        "summary": summary,
        "panels": [
            svg for bed in summary["beds"] for svg in _panels(cells, bed, figures)
        ],
        "coverage": figures.coverage_figure(cells),
        "tables": {bed: _of(cells, bed) for bed in summary["beds"]},
        "counts": {name: verdicts.count(name) for name in VERDICTS},
        "shorter": sorted(
            {(c["agent"], c["num_steps"]) for c in cells if c["num_steps"] < longest}
        ),
        "longest": longest,
        "refuted": [c for c in cells if c["empty"] or c["contradicted"]],
        "fitted": fitted,
    }


def _of(cells: Sequence[Mapping], bed: str) -> list[Mapping]:
    return [each for each in cells if each["bed"] == bed]


def _panels(cells: Sequence[Mapping], bed: str, figures: ModuleType) -> list[str]:
    """Two of each bed: by the kind of the confidence scale."""
    found = []
    for scale, words in SCALES.items():
        theory = scale == "theory"
        shown = [c for c in _of(cells, bed) if (c["scale"] == "theory") == theory]
        found.append(figures.regret_panel(shown, f"{bed}, {words}"))
    return [svg for svg in found if svg]


def fitted(value: Sequence | None, form: str) -> str:
    """A number with its interval, or a dash for what could not be fitted."""
    if value is None:
        return "–"
    number, interval = value
    if interval is None:
        return f"{number:{form}}"
    return f"{number:{form}} ({interval[0]:{form}} to {interval[1]:{form}})"


PAGE = SummaryPage(
    "regret.html.jinja", _shown, figures="regret_curves", what="a comparison by regret"
)
