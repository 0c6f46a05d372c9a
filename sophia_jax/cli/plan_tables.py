"""A plan as tables and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.planning.plan import PlanReport, RoleReport

__all__ = ["memory_table", "say_plan", "time_table"]

GIB = 2**30
KINDS = ("weights", "optimizer", "cache", "inputs")


def say_plan(report: PlanReport, display: Display) -> None:
    """Everything that was found, and what it rests on."""
    display.say(memory_table(report))
    display.say(time_table(report))
    for role in report.roles:
        for line in advice_lines(role):
            display.say(line)
    sizes = report.plan.sizes
    display.say(
        f"round      {sizes.questions:,} questions, {sizes.captions} captions of "
        f"{sizes.caption_tokens} tokens each, {sizes.reasonings} reasonings of "
        f"{sizes.reasoning_tokens} tokens from each caption: at least "
        f"{report.chip_hours:,.0f} chip-hours"
    )
    display.say(
        "careful    least times: no program reaches its chip's peaks; mean lengths, "
        "tiles and the share that is kept are assumed where they are not given"
    )
    display.say(
        "versions   " + ", ".join(f"{k} {v}" for k, v in report.versions.items())
    )


def memory_table(report: PlanReport) -> Table:
    """GiB of one chip, for each role."""
    names = ("weights", "optim.", "cache", "inputs", "activ.", "peak", "of")
    table = _table("GiB of a chip", *names, "")
    for role in report.roles:
        held = [role.held.get(kind, 0) for kind in KINDS]
        table.add_row(
            escape(role.name),
            *(_gib(size) for size in (*held, role.activation_bytes)),
            f"{role.peak_bytes / GIB:.1f}",
            f"{role.usable_bytes / GIB:.1f}",
            "fits" if role.fits else "NO",
        )
    return table


def time_table(report: PlanReport) -> Table:
    """What one chip does in a step, what limits it, and what the round takes."""
    names = ("batch", "most", "TFLOP", "GB", "recv.", "ms", "limit", "chip-h", "%")
    table = _table("step of a chip", *names)
    total = report.chip_hours or 1.0
    for role in report.roles:
        largest = "-" if role.largest_batch is None else f"{role.largest_batch:,}"
        table.add_row(
            escape(role.name),
            f"{role.batch:,}",
            largest,
            _short(role.flops / 1e12),
            _short(role.hbm_bytes / 1e9),
            _short((role.ici_bytes + role.dcn_bytes) / 1e9),
            _short(role.bound.seconds * 1e3),
            role.bound.limiter.removeprefix("between "),
            _short(role.chip_hours),
            f"{100 * role.chip_hours / total:.0f}",
        )
    return table


def advice_lines(role: RoleReport) -> list[str]:
    """What would make a role fit, and what would not."""
    if role.fits:
        return []
    lines = []
    for change in role.advice:
        word = "would fit " if change.fits else "not enough"
        gib = "by its weights alone"
        if change.compiled is not None:
            gib = f"{change.compiled.peak_bytes / GIB:.1f} GiB"
        lines.append(f"{word} {role.name}: {change.words} ({gib})")
    return lines or [f"too large  {role.name}: nothing was found that fits"]


def _table(first: str, *others: str) -> Table:
    """Narrow enough for 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f}" if num_bytes else "-"


def _short(number: float) -> str:
    """Three digits, or all before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}" if number else "-"
