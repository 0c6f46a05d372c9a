"""Pages that show a run's `summary.json` and nothing else of its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from sophia_jax.paths import as_path, write_whole
from sophia_jax.types import InputError
from sophia_jax.viz.report import figures_of
from sophia_jax.viz.templates import load_template

__all__ = ["summary_kind", "write_summary_page"]

Show = Callable[[Mapping[str, Any], ModuleType], Mapping[str, Any]]
"""(summary, figures) -> what a template shows."""


def summary_kind(run_folder: str | Path) -> str:
    """What kind of run a folder's summary says that it is of; empty if none."""
    kind = _read(as_path(run_folder) / "summary.json").get("kind")
    return kind if isinstance(kind, str) else ""


def write_summary_page(
    run_folder: str | Path, template: str, show: Show, *, figures: str, what: str
) -> Path:
    """Write `report.html` into a run's folder.

    The same summary gives the same bytes; a page that was there is replaced at once.

    Args:
      run_folder: as its command leaves it, whole.
      template: its name.
      show: what the template shows.
      figures: the module of its figures.
      what: the summary is of, for messages.

    Returns:
      The path of the page.

    Raises:
      InputError: the summary is damaged, or the extra `viz` is not installed.
    """
    run_folder = as_path(run_folder)
    path = run_folder / "summary.json"
    module = figures_of(figures)
    try:
        shown = show(_read(path), module)
        page = load_template(template).render(shown) + "\n"
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: expected the summary of {what}, got {error!r}"
        ) from error
    write_whole(run_folder / "report.html", page)
    return run_folder / "report.html"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
