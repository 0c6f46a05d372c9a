"""`sophia-jax report`: the HTML page of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from sophia_jax.cli.settings import AnyPath

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Write a run's report.html: figures, curves, and its questions with their texts.

    One file that needs no network. Where a run has stored questions: pictures,
    captions, reasonings, what was kept and why the rest was not; to filter, to search,
    and to read with the keyboard.
    """

    run_folder: tyro.conf.Positional[AnyPath]
    """Folder that quickstart, train, collect, update, evaluate, align, grpo, compare,
    frontier, scale or regret has left."""
    max_mib: float = 64.0
    """The most that texts and pictures may take of the page, in MiB. What does not fit
    is left out, and the page says how much of it there was."""

    @property
    def folder(self) -> None:
        return None

    def run(self, display: Display) -> None:
        from sophia_jax.paths import file_size
        from sophia_jax.viz.pages import write_page

        page = write_page(self.run_folder, max_mib=self.max_mib)
        display.say(f"report     {page} ({file_size(page) / 2**20:.1f} MiB)")
