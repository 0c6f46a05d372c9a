"""`sophia-jax versus`: two evaluations of the same questions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from sophia_jax.cli.settings import AnyPath
from sophia_jax.cli.tables import changed_lines, versus_table

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display

__all__ = ["Versus"]


@dataclass(frozen=True)
class Versus:
    """Compare two evaluations of the same questions: is the second one better?"""

    first: tyro.conf.Positional[AnyPath]
    """Folder that evaluate left, or one of a quickstart's evaluations."""
    second: tyro.conf.Positional[AnyPath]
    """Another one, of the same questions."""
    out: AnyPath | None = None
    """Folder for the result, with all questions that changed, as summary.json; must not
    exist, or see --force."""
    common: bool = False
    """Compare the questions (ids) that both have, and count those of one alone."""
    seed: int = 0
    """Of the resamples."""
    force: bool = False
    """Delete what an earlier comparison left in the folder."""

    @property
    def folder(self) -> Path | None:
        return self.out

    def run(self, display: Display) -> None:
        from sophia_jax.recipes.versus import compare_evaluations

        compared = compare_evaluations(
            self.first,
            self.second,
            out=self.out,
            force=self.force,
            common=self.common,
            seed=self.seed,
        )
        display.say(versus_table(compared))
        display.say(f"first      {self.first}")
        display.say(f"second     {self.second}")
        display.say(
            "p          chance of a difference as large if both were equally good, by "
            f"{compared['test']}; not corrected for the number of subjects"
        )
        for line in changed_lines(compared):
            display.say(line)
        for name, (one, other) in compared["protocols_differ"].items():
            display.say(f"careful    {name} was {one}, and is {other}")
        if compared["only_first"] or compared["only_second"]:
            display.say(
                f"left out   {compared['only_first']} questions of the first alone, "
                f"{compared['only_second']} of the second"
            )
        if self.out is not None:
            display.say(f"results    {self.out}")
