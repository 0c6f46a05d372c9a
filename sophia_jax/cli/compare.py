"""`sophia-jax compare`: what each part of the method is worth, in small."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich import box
from rich.table import Table

from sophia_jax.cli.options import AnyPath, TraceOptions, leave_page
from sophia_jax.cli.settings import checked_options

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.recipes.compare.sizes import CompareConfig

__all__ = ["Compare"]


@dataclass(frozen=True)
class Compare:
    """The paper's ablation table in small: ways to learn from the same rollouts."""

    out: AnyPath = Path("runs/compare")
    """Folder of the run; must not exist, or see --resume and --force."""
    seeds: int = 5
    """How many, from 0 on; each has its own data, models and rollouts."""
    arms: tuple[str, ...] = ()
    """Names of arms; none for all of the size."""
    quick: bool = False
    """Two seeds, fewer arms and updates: twenty minutes instead of two hours."""
    tiny: bool = False
    """Seconds an arm: it shows the machinery, not the result."""
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

        from sophia_jax.recipes.compare.run import chosen_arms, compare
        from sophia_jax.recipes.run_folder import open_run_folder

        config = self._config()
        chosen_arms(config.arms)
        open_run_folder(self.out, asdict(config), resume=self.resume, force=self.force)
        if config.missing:
            display.say(config.missing)
        summary = compare(self.out, config, track=display.track, say=display.say)
        display.say(arm_table(summary["arms"]))
        display.say(claim_table(summary["claims"]))
        for claim in summary["claims_without_arms"]:
            display.say(f"not seen   {claim}")
        display.say(f"seconds    {summary['seconds']['total']:.0f}")
        leave_page(self.out, display)

    def _config(self) -> CompareConfig:
        from dataclasses import replace

        from sophia_jax.recipes.compare.sizes import (
            default_size,
            quick_size,
            tiny_size,
        )
        from sophia_jax.types import InputError

        if self.seeds < 1:
            raise InputError(f"--seeds: expected >= 1, got {self.seeds}")
        if self.quick and self.tiny:
            raise InputError("--quick, --tiny: expected one of them, got both")
        if self.quick or self.tiny:
            config = quick_size() if self.quick else tiny_size()
            config = replace(config, seeds=config.seeds[: self.seeds])
        else:
            config = default_size(self.seeds)
        with checked_options():
            return replace(config, arms=self.arms or config.arms)


def arm_table(arms: Mapping[str, Mapping]) -> Table:
    """pass@1 of each arm, its gain over SOPHIA, captions right and hallucinations.

    Args:
      arms: of the comparison's summary.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("arm, %", no_wrap=True)
    for name in ("pass@1", "95 %", "gain", "95 %", "capt.", "hall."):
        table.add_column(name, justify="right", no_wrap=True)
    for name, arm in arms.items():
        score = arm["pass@1"]
        difference = None if name == "sophia" else arm["difference"]
        named = arm["names_numbers"]["mean"]
        table.add_row(
            name,
            f"{100 * score['mean']:.1f}",
            "–".join(f"{100 * end:.1f}" for end in score["interval"]),
            f"{100 * difference['mean']:+.1f}" if difference else "-",
            _interval(difference, "+.1f") if difference else "-",
            f"{100 * arm['caption_accuracy']['mean']:.1f}",
            f"{100 * arm['hallucination']['mean']:.1f}" if named else "-",
        )
    return table


def claim_table(claims: list[Mapping]) -> Table:
    """The paper's figures beside ours, and whether they agree.

    Args:
      claims: of the comparison's summary.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("claim, %")
    for name in ("paper", "here", "95 %", "verdict"):
        table.add_column(name, justify="right", no_wrap=True)
    for claim in claims:
        measure = "" if claim["measure"] == "pass@1" else f" ({claim['measure']})"
        table.add_row(
            f"{claim['second']} - {claim['first']}{measure}",
            f"{claim['paper'][1] - claim['paper'][0]:+.2f}",
            f"{100 * claim['difference']['mean']:+.1f}",
            _interval(claim["difference"], "+.1f"),
            claim["verdict"],
        )
    return table


def _interval(estimate: Mapping, form: str) -> str:
    return ", ".join(f"{100 * end:{form}}" for end in estimate["interval"])
