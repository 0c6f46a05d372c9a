"""The page of a frontier: reward against divergence, and who earns more."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from sophia_jax.viz.summary_page import SummaryPage

__all__ = ["PAGE"]

VERDICTS = ("ahead", "behind", "not decided")


def _shown(summary: Mapping[str, Any], figures: ModuleType) -> dict[str, Any]:
    """What the template shows."""
    panel = figures.divergence_panel
    names = summary["settings"]["divergences"]
    claims = [
        each["verdict"]
        for each in summary["comparisons"]
        if (each["first"], each["second"]) == ("f-DPO", "PPO")
    ]
    return {
        "summary": summary,
        "panels": [(name, panel(summary, name)) for name in names],
        "claims": {name: claims.count(name) for name in VERDICTS},
        "ends": ends(summary),
        "signed": lambda number: f"{number:+.3f}",
        "interval": interval,
    }


def ends(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each arm the means over its seeds, after its last update."""
    last, by_arm = summary["settings"]["updates"], {}
    for point in summary["points"]:
        if point["step"] == last:
            arm = tuple(point[name] for name in ("divergence", "method", "beta"))
            by_arm.setdefault(arm, []).append(_end(point))
    return [
        {
            **dict(zip(("divergence", "method", "beta"), arm, strict=True)),
            **{name: _mean([each[name] for each in rows]) for name in rows[0]},
        }
        for arm, rows in by_arm.items()
    ]


def _end(point: Mapping[str, Any]) -> dict[str, float | None]:
    divergences, told = point["divergences"], point["held_out"] or {}
    plain = ("reward", "entropy", "distinct_2", "self_bleu")
    return {
        **{name: point[name] for name in plain},
        "own": divergences.get(point["divergence"]),
        "reverse_kl": divergences["reverse KL"],
        "accuracy": told.get("reward_accuracy"),
        "calibration": told.get("calibration_error"),
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def interval(ends: list[float] | None, form: str) -> str:
    """Both ends, or a dash for what a single seed cannot say."""
    if ends is None:
        return "–"
    return f"{ends[0]:{form}} to {ends[1]:{form}}"


PAGE = SummaryPage(
    "frontier.html.jinja", _shown, figures="frontier_curves", what="a frontier"
)
