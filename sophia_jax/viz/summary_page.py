"""Pages that show a run's `summary.json` and nothing else of its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sophia_jax.types import InputError
from sophia_jax.viz.figures import figures_of
from sophia_jax.viz.templates import write_page_file

__all__ = ["SummaryPage"]


@dataclass(frozen=True)
class SummaryPage:
    """How the summary of a command is shown.

    Attributes:
      template: its name.
      show: (summary, figures) -> what the template shows.
      figures: the module of its figures.
      what: the summary is of, for messages.
    """

    template: str
    show: Callable[[Mapping[str, Any], ModuleType], Mapping[str, Any]]
    figures: str
    what: str

    def write(self, run_folder: Path, summary: Mapping[str, Any]) -> Path:
        """Write `report.html` into a run's folder; the same summary, the same bytes.

        Args:
          run_folder: as its command leaves it, whole.
          summary: what its `summary.json` holds.

        Returns:
          The path of the page.

        Raises:
          InputError: the summary is damaged, the page cannot be written, or the extra
            `viz` is not installed.
        """
        from jinja2 import UndefinedError

        figures = figures_of(self.figures)
        wrong = (KeyError, TypeError, ValueError, IndexError, UndefinedError)
        try:
            shown = self.show(summary, figures)
            return write_page_file(run_folder, self.template, shown)
        except InputError:
            raise
        except wrong as error:
            path = run_folder / "summary.json"
            raise InputError(
                f"{path}: expected the summary of {self.what}, got {error!r}"
            ) from error
