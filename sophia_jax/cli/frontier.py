"""`sophia-jax frontier`: reward against divergence, of f-DPO, PPO and GRPO."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.options import AnyPath, TraceOptions, leave_page
from sophia_jax.cli.tables import seconds_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from sophia_jax.cli.progress import Display

__all__ = ["Frontier"]

SEEDS, QUICK_SEEDS = 5, 1


@dataclass(frozen=True)
class Frontier:
    """Reward against divergence: f-DPO, PPO and GRPO, where the best is known.

    All learn from the same preferences: f-DPO from the pairs, PPO and GRPO by way of a
    reward model. The true reward is what is measured; one more arm, PPO, is told it.
    """

    out: AnyPath = Path("runs/frontier")
    """Folder of the run; must not exist, or see --resume and --force."""
    seeds: int | None = None
    """Tasks, each with a reference, rewards and samples of its own; None for 5, or for
    1 of a quick run."""
    quick: bool = False
    """Every kind of arm, but two divergences, one price and fewer updates: a look at
    the machinery, from which no ranking follows."""
    resume: bool = False
    """Go on with a run of the same settings."""
    force: bool = False
    """Delete what an earlier run left in the folder."""
    trace: Annotated[TraceOptions, tyro.conf.OmitArgPrefixes] = TraceOptions()

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from dataclasses import asdict

        from sophia_jax.recipes.frontier.run import run_frontier
        from sophia_jax.recipes.frontier.sizes import full_size, quick_size
        from sophia_jax.recipes.run_folder import open_run_folder
        from sophia_jax.types import InputError

        if self.seeds is not None and self.seeds < 1:
            raise InputError(f"--seeds: expected >= 1, got {self.seeds}")
        num_seeds = self.seeds or (QUICK_SEEDS if self.quick else SEEDS)
        config = (quick_size if self.quick else full_size)(num_seeds)
        open_run_folder(self.out, asdict(config), resume=self.resume, force=self.force)
        summary = run_frontier(self.out, config, track=display.track, say=display.say)
        display.say(comparison_table(summary))
        for line in verdict_lines(summary):
            display.say(line)
        if self.quick:
            display.say("careful    a quick run: too small to rank anything")
        display.say(seconds_line(summary["seconds"]))
        leave_page(self.out, display)


def comparison_table(summary: Mapping) -> Table:
    """Who earns more at equal divergence, under each f.

    Args:
      summary: of `run_frontier`.
    """
    from rich.table import Table

    table = Table()
    table.add_column("divergence")
    table.add_column("at equal divergence")
    for name in ("reward more", "95 % interval", "verdict"):
        table.add_column(name, justify="right")
    for each in summary["comparisons"]:
        table.add_row(
            each["divergence"],
            f"{each['first']} over {each['second']}",
            f"{each['difference']:+.3f}",
            _words(each["interval"], "+.3f"),
            each["verdict"],
        )
    return table


def verdict_lines(summary: Mapping) -> list[str]:
    """How the paper's claim fares, what the reward models know, and how near to the
    best each method comes."""
    claims = [
        each["verdict"]
        for each in summary["comparisons"]
        if (each["first"], each["second"]) == ("f-DPO", "PPO")
    ]
    counts = ", ".join(
        f"{claims.count(verdict)} {verdict}"
        for verdict in ("ahead", "behind", "not decided")
    )
    lines = [f"claim      f-DPO ahead of PPO at equal divergence: {counts}"]
    for seed, each in summary["reward_models"].items():
        lines.append(
            f"rewards    seed {seed}: the reward model tells {each['accuracy']:.1%} of "
            f"{each['num_held_out']} held-out pairs right, the true reward "
            f"{each['accuracy_of_truth']:.1%}"
        )
    for each in summary["shares_of_optimum"]:
        lines.append(
            f"optimum    {each['method']} under {each['divergence']}: "
            f"{each['share']:.0%} of the best reward {_words(each['interval'], '.0%')}"
        )
    return lines


def _words(interval: list[float] | None, form: str) -> str:
    if interval is None:
        return "(one seed)"
    return f"[{interval[0]:{form}}, {interval[1]:{form}}]"
