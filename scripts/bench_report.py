"""The rollout benchmark's tables."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

COLUMNS = (
    "engine",
    "rows",
    "useful tokens/s",
    "padding",
    "ours / it",
    "programs",
    "warm-up",
)


def show(figures: dict, console: Console) -> None:
    """Print what `bench_rollouts` found."""
    machine, versions = figures["machine"], figures["versions"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    for name, phase in figures["phases"].items():
        console.print(phase_table(name, phase))
        console.print(limit_lines(phase["limit"], phase["limit_as_decoded"]))
    for engine, peak in figures.get("peak_memory_gib", {}).items():
        console.print(f"peak memory of a process with {engine} alone: {peak:.2f} GiB")


def phase_table(name: str, phase: dict) -> Table:
    """One row for each engine: medians, least and largest in brackets."""
    title = (
        f"{name}: {phase['samples']} samples from prompts of "
        f"{phase['prompt_tokens']} tokens, {phase['useful_tokens']} tokens in all"
    )
    table = Table(*COLUMNS, title=title, title_justify="left")
    for engine, found in phase["engines"].items():
        ratio = phase["ours_over_peer"].get(engine)
        table.add_row(
            engine,
            str(found["rows"]),
            spread_text(found["speed"], ".0f"),
            f"{found['padding_share']:.0%}",
            spread_text(ratio, ".2f") if ratio else "",
            f"{max(found['programs'])} (warm-up {found['warm_up_programs']})",
            f"{found['warm_up_seconds']:.0f} s",
        )
    return table


def limit_lines(full: dict, as_decoded: dict) -> str:
    """The bounds that matrix products set, and our share of them."""
    return (
        f"matrix products in full batches of {full['rows']} rows allow "
        f"{spread_text(full['tokens_per_second'], '.0f')} tokens/s "
        f"({full['gflop_per_second']:.0f} GFLOP/s); ours reaches "
        f"{spread_text(full['ours_share'], '.0%')} of that\n"
        "those of our steps, with as many rows as they had, allow "
        f"{spread_text(as_decoded['tokens_per_second'], '.0f')} tokens/s; ours reaches "
        f"{spread_text(as_decoded['ours_share'], '.0%')} of that"
    )


def spread_text(spread: dict[str, float], form: str) -> str:
    """median [least, largest]."""
    median, least, largest = (spread[key] for key in ("median", "min", "max"))
    return f"{median:{form}} [{least:{form}}, {largest:{form}}]"
