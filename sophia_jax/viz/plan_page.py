"""The page of a plan: memory of a chip against its limit, and where chip-hours go."""

from __future__ import annotations

from dataclasses import dataclass

from sophia_jax.planning.plan import PlanReport, RoleReport
from sophia_jax.viz.templates import load_template

__all__ = ["plan_page"]

GIB = 2**30


@dataclass(frozen=True)
class Part:
    """A part of a bar.

    Attributes:
      kind: what it is, and its class in the style sheet.
      gib: of a chip.
      percent: of the bar's width.
    """

    kind: str
    gib: float
    percent: float


def plan_page(report: PlanReport) -> str:
    """A page by itself, light or dark as its reader's system is.

    Args:
      report: of `make_plan`.

    Returns:
      HTML that loads nothing.
    """
    widest = max(max(role.peak_bytes, role.usable_bytes) for role in report.roles)
    bars = [(role, _parts(role, widest)) for role in report.roles]
    limit = 100 * max(role.usable_bytes for role in report.roles) / widest
    return (
        load_template("plan.html.jinja").render(
            report=report,
            target=report.plan.target,
            bars=bars,
            limit=limit,
            usable=max(role.usable_bytes for role in report.roles) / GIB,
            gib=GIB,
            hours=report.chip_hours or 1.0,
            amount=_amount,
        )
        + "\n"
    )


def _amount(number: float) -> str:
    """Three digits, or all before the point; a dash for nothing."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}" if number else "–"


def _parts(role: RoleReport, widest: int) -> list[Part]:
    """What a chip holds, activations last; no more than the peak together."""
    left, parts = role.peak_bytes, []
    sizes = {**role.held, "activations": role.activation_bytes}
    for kind, size in sizes.items():
        size = min(size, left)
        left -= size
        if size:
            parts.append(Part(kind, size / GIB, 100 * size / widest))
    return parts
