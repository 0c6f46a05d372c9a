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
    """Write a run's report.html: pictures, captions, reasonings, and what was kept."""

    run_folder: tyro.conf.Positional[AnyPath]
    """Folder that quickstart, train, collect, update, compare, frontier, regret or
    scale has left."""

    @property
    def folder(self) -> None:
        return None

    def run(self, display: Display) -> None:
        from sophia_jax.viz.pages import write_page

        display.say(str(write_page(self.run_folder)))
