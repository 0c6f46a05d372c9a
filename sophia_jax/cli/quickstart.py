"""`sophia-jax quickstart`: the whole loop on real handwritten digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.options import AnyPath, TraceOptions, leave_page
from sophia_jax.cli.tables import score_table, seconds_line

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display

__all__ = ["Quickstart"]


@dataclass(frozen=True)
class Quickstart:
    """The whole loop on real handwritten digits, on a CPU, in minutes."""

    out: AnyPath = Path("runs/quickstart")
    """Folder of the run; must not exist, or see --resume and --force."""
    seed: int = 0
    """Of data, weights, samples and orders."""
    tiny: bool = False
    """A run of a minute or two that shows the machinery, not the result."""
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

        from sophia_jax.recipes.quickstart import quickstart
        from sophia_jax.recipes.run_folder import open_run_folder
        from sophia_jax.recipes.sizes import full_size, tiny_size

        config = (tiny_size if self.tiny else full_size)(self.seed)
        open_run_folder(self.out, asdict(config), resume=self.resume, force=self.force)
        summary = quickstart(self.out, config, track=display.track, say=display.say)
        base, sophia = (summary["held_out"][name] for name in ("base", "sophia"))
        display.say(score_table({"base": base, "SOPHIA": sophia}))
        if base["caption_accuracy"]:
            share = sophia["pass@1"] / base["caption_accuracy"]
            display.say(f"SOPHIA reaches {share:.0%} of the base's caption accuracy")
        display.say(seconds_line(summary["seconds"]))
        leave_page(self.out, display)
