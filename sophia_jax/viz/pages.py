"""The page of a folder, whatever command has left it."""

from __future__ import annotations

from pathlib import Path

from sophia_jax.viz.comparison_page import is_comparison, write_comparison_page
from sophia_jax.viz.report import write_report

__all__ = ["write_page"]


def write_page(run_folder: str | Path) -> Path:
    """Write `report.html` into a folder: of a comparison, or of any other run.

    Args:
      run_folder: whole or not.

    Returns:
      The path of the page.

    Raises:
      InputError: as `write_report` and `write_comparison_page`.
    """
    write = write_comparison_page if is_comparison(run_folder) else write_report
    return write(run_folder)
