"""The page of a folder, whatever command has left it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sophia_jax.paths import as_path
from sophia_jax.types import InputError
from sophia_jax.viz import comparison_page, frontier, more_answers, regret, scale
from sophia_jax.viz.embedding import MAX_MIB
from sophia_jax.viz.evaluation import write_evaluation_page
from sophia_jax.viz.report import write_report

__all__ = ["write_page"]

PAGES = {  # by the kind that a summary says it is of
    "compare": comparison_page.PAGE,
    "frontier": frontier.PAGE,
    "judge_fit": more_answers.PAGE,
    "more_answers": more_answers.PAGE,
    "regret": regret.PAGE,
    "scale": scale.PAGE,
}
# Settings that no other runs have; all that such a run's page shows is in its summary.
SETTINGS_OF_PAGES = {
    "compare": {"arms", "laboratory"},
    "frontier": {"divergences", "told_divergences"},
    "judge_fit": {"fit"},
    "more_answers": {"liking", "pairs_of_question"},
    "regret": {"agents", "beds"},
    "scale": {"eigenvalues", "judge_errors"},
}
SETTINGS, SUMMARY, ANSWERS = "config.json", "summary.json", "predictions.parquet"
# One of these is in the folder of any run, however early it was stopped.
SIGNS = (SETTINGS, SUMMARY, "rollouts", "training", "evaluations", "pairs")


def write_page(run_folder: str | Path, *, max_mib: float = MAX_MIB) -> Path:
    """Write `report.html` into a folder, whichever command has left it.

    The same run gives the same bytes; a page that was there is replaced at once.

    Args:
      run_folder: whole; of the commands of the algorithm itself, stopped early too.
      max_mib: the most that texts and pictures may take of the page, in MiB.

    Returns:
      The path of the page.

    Raises:
      InputError: the folder is no run's, or of a run that has to end first; a file in
        it is damaged, the page cannot be written, or the extra `viz` is not installed.
    """
    folder = as_path(run_folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a run folder, got none")
    if not 0 < max_mib < math.inf:
        raise InputError(f"max_mib: expected a number > 0, got {max_mib:g}")
    summary = _read(folder / SUMMARY)
    page = PAGES.get(_kind(summary))
    if page is not None:
        return page.write(folder, summary)
    if (folder / ANSWERS).is_file():
        return write_evaluation_page(folder, max_mib=max_mib)
    if not any((folder / sign).exists() for sign in SIGNS):
        raise InputError(
            f"{folder}: expected the folder of a run, with {', '.join(SIGNS)} or "
            f"{ANSWERS}; got none of them"
        )
    _check_has_ended(folder)
    return write_report(folder, max_mib=max_mib)


def _check_has_ended(folder: Path) -> None:
    """Refuse what is no run of the algorithm, and has no page before it has ended."""
    settings = _read(folder / SETTINGS).keys()
    if "pass_k" in settings:
        raise InputError(
            f"{folder}: expected an evaluation that has ended, got no {ANSWERS}"
        )
    others = any(names <= settings for names in SETTINGS_OF_PAGES.values())
    if others and not (folder / SUMMARY).exists():
        raise InputError(f"{folder}: expected a run that has ended, got no {SUMMARY}")


def _kind(summary: Mapping[str, Any]) -> str:
    """What a summary says that it is of; empty where it says nothing."""
    if {"arms", "claims", "sweeps"} <= summary.keys():
        return "compare"
    kind = summary.get("kind")
    return kind if isinstance(kind, str) else ""


def _read(path: Path) -> Mapping[str, Any]:
    """Empty where there is none, or a damaged one, which the page's writer refuses."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
