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
KINDS = ("weights", "optimizer", "cache", "inputs", "other model")


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
    table = _table("GiB of a chip")
    for name in ("weights", "optim.", "cache", "inputs", "other", "activ."):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("peak", "of", ""):
        table.add_column(name, justify="right", no_wrap=True)
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
    table = _table("step of a chip")
    columns = ("batch", "fits", "TFLOP", "GB", "sent GB", "ms", "limit", "chip-h", "%")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    total = report.chip_hours or 1.0
    for role in report.roles:
        largest = "-" if role.largest_batch is None else f"{role.largest_batch:,}"
        sent = role.ici_bytes + role.dcn_bytes
        table.add_row(
            escape(role.name),
            f"{role.batch:,}",
            largest,
            f"{role.flops / 1e12:.3g}",
            f"{role.hbm_bytes / 1e9:.3g}",
            f"{sent / 1e9:.3g}",
            f"{role.bound.seconds * 1e3:.3g}",
            role.bound.limiter,
            f"{role.chip_hours:.3g}",
            f"{role.chip_hours / total:.0%}",
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


def _table(first: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(first, no_wrap=True)
    return table


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f}" if num_bytes else "-"
