"""The page of a folder, whatever command has left it."""

from __future__ import annotations

from pathlib import Path

from sophia_jax.viz.comparison_page import is_comparison, write_comparison_page
from sophia_jax.viz.frontier import is_frontier, write_frontier_page
from sophia_jax.viz.more_answers import is_more_answers, write_more_answers_page
from sophia_jax.viz.regret import is_regret, write_regret_page
from sophia_jax.viz.report import write_report
from sophia_jax.viz.scale import is_scale, write_scale_page

__all__ = ["write_page"]


def write_page(run_folder: str | Path) -> Path:
    """Write `report.html` into a folder, whichever command has left it.

    Args:
      run_folder: whole or not.

    Returns:
      The path of the page.

    Raises:
      InputError: as the writer of that kind of page.
    """
    if is_comparison(run_folder):
        return write_comparison_page(run_folder)
    if is_frontier(run_folder):
        return write_frontier_page(run_folder)
    if is_regret(run_folder):
        return write_regret_page(run_folder)
    if is_scale(run_folder):
        return write_scale_page(run_folder)
    if is_more_answers(run_folder):
        return write_more_answers_page(run_folder)
    return write_report(run_folder)
