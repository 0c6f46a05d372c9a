"""`sophia-jax regret`: agents that learn in MDPs that never end, LOOP and others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.options import AnyPath, TraceOptions, leave_page
from sophia_jax.cli.tables import seconds_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from sophia_jax.cli.progress import Display

__all__ = ["Regret"]


@dataclass(frozen=True)
class Regret:
    """Regret of LOOP, UCRL2, PSRL and others in average-reward MDPs.

    Each agent acts in each bed for T steps, with several seeds. Regret is in units of
    reward, of which a step pays at most 1.
    """

    out: AnyPath = Path("runs/regret")
    """Folder of the run; must not exist, or see --resume and --force."""
    agents: tuple[str, ...] = ()
    """Names, one after the other; none for the default ones. A name that is not known
    is answered with all that are. Those in -theory have the confidence scale of the
    theory, for a chance of failure of 1/20; the others one that was tuned, or none."""
    beds: tuple[str, ...] = ()
    """Names of MDPs; none for riverswim-6 and linear-mixture."""
    seeds: int | None = None
    """Runs of each agent in each bed; None for 50 at the theory's scale, where coverage
    is counted, 3 of slow agents, and 20 of the others."""
    num_steps: int | None = None
    """T, steps of each run; None for 100,000, or for 2,000 of a quick run. Slow agents
    (fopo, olsvi-fh) take 2,000 at most."""
    quick: bool = False
    """Few steps and seeds: a look at the machinery, from which nothing follows."""
    resume: bool = False
    """Go on with a run of the same settings: agents that were done are kept."""
    force: bool = False
    """Delete what an earlier run left in the folder."""
    trace: Annotated[TraceOptions, tyro.conf.OmitArgPrefixes] = TraceOptions()

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from dataclasses import asdict

        from sophia_jax.recipes.regret.run import run_regret
        from sophia_jax.recipes.regret.sizes import (
            DEFAULT_AGENTS,
            DEFAULT_BEDS,
            RegretConfig,
            quick_size,
        )
        from sophia_jax.recipes.run_folder import open_run_folder

        config = RegretConfig(
            agents=self.agents or DEFAULT_AGENTS,
            beds=self.beds or DEFAULT_BEDS,
            seeds=self.seeds,
            num_steps=100_000 if self.num_steps is None else self.num_steps,
        )
        config = quick_size(config) if self.quick else config
        open_run_folder(self.out, asdict(config), resume=self.resume, force=self.force)
        summary = run_regret(self.out, config, track=display.track, say=display.say)
        for bed in summary["beds"]:
            display.say(regret_table(summary, bed))
        for line in claim_lines(summary["claims"]):
            display.say(line)
        if self.quick:
            display.say("careful    a quick run: too short to tell anything")
        display.say(seconds_line(summary["seconds"]))
        leave_page(self.out, display)


def regret_table(summary: Mapping, bed: str) -> Table:
    """Every agent in a bed: pseudo-regret, its growth, switches, and in how many runs
    the truth was in every set. Steps are told, of agents that made fewer as well.

    Args:
      summary: of `run_regret`.
      bed: its name.
    """
    from rich import box
    from rich.table import Table

    rows = [each for each in summary["cells"] if each["bed"] == bed]
    longest = max(each["num_steps"] for each in rows)
    # Narrow enough for 80 columns.
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, title_justify="left")
    table.title = f"{bed}, {longest:,} steps"
    table.add_column("agent")
    for name in ("regret", "95 %", "slope", "95 %", "switches", "in set"):
        table.add_column(name, justify="right")
    for each in rows:
        steps, coverage = each["num_steps"], each["coverage"]
        table.add_row(
            each["agent"] + (f", {steps:,}" if steps < longest else ""),
            *_two(each["pseudo_regret"], ",.0f"),
            *_two(each["slope"], "z.2f"),
            f"{each['switches']:,.0f}",
            "-" if coverage is None else "{inside}/{num_runs}".format(**coverage),
        )
    return table


def claim_lines(claims: Sequence[Mapping]) -> list[str]:
    """What is asked of LOOP: whether it is met, and why where it is not."""
    lines = []
    for each in claims:
        reason = f" ({each['reason']})" if each["reason"] else ""
        lines.append(
            f"{each['verdict']:<11}{each['agent']} in {each['bed']}: {each['claim']}: "
            f"{each['found']}{reason}"
        )
    return lines


def _two(fitted: Sequence | None, form: str) -> tuple[str, str]:
    """A number, and its 95 % interval where several seeds tell of one."""
    if fitted is None:
        return "-", "-"
    value, interval = fitted
    ends = "-" if interval is None else "–".join(f"{end:{form}}" for end in interval)
    return f"{value:{form}}", ends
