"""The page of an evaluation: scores with intervals, and every question's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sophia_jax.paths import resolved
from sophia_jax.types import InputError
from sophia_jax.viz.answer_entries import answer_entries
from sophia_jax.viz.embedding import embed
from sophia_jax.viz.questions import read_questions
from sophia_jax.viz.summary import read_summary
from sophia_jax.viz.summary_page import SummaryPage

__all__ = ["write_evaluation_page"]

PARTS = {
    "by_kind": "Subject",
    "by_level": "Level",
    "by_answer_type": "Type of answer",
}


def write_evaluation_page(run_folder: Path, *, max_mib: float) -> Path:
    """Write `report.html` into the folder of an evaluation.

    Args:
      run_folder: with `predictions.parquet` and `summary.json`.
      max_mib: the most that texts and pictures may take, in MiB.

    Returns:
      The path of the page.

    Raises:
      InputError: a file is damaged, the page cannot be written, or the extra `viz` is
        not installed.
    """
    path = run_folder / "summary.json"
    try:
        summary = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the summary of an evaluation, got {error}"
        ) from error
    facts = read_summary(run_folder)
    items = read_questions(run_folder, facts.settings.get("data"))
    files = {"Answers": run_folder / "predictions.parquet"}
    browser = embed([answer_entries("answers", run_folder, files, items)], max_mib)

    def show(summary: Mapping[str, Any], figures: Any) -> dict[str, Any]:
        return {
            "name": _name(facts.settings) or resolved(run_folder).name,
            "scores": _scores(summary),
            "parts": {t: summary[n] for n, t in PARTS.items() if summary.get(n)},
            "evaluation": summary,
            "figure": figures.accuracy_by_k(summary),
            "summary": facts,
            "browser": browser,
        }

    page = SummaryPage(
        "evaluation.html.jinja", show, figures="selection_curves", what="an evaluation"
    )
    return page.write(run_folder, summary)


def _name(settings: Mapping[str, str]) -> str:
    """Of the model and of the data; empty where they are not known."""
    names = (settings.get(name, "").rstrip("/") for name in ("model", "data"))
    return " on ".join(name.rpartition("/")[2] for name in names if name)


def _scores(summary: Mapping[str, Any]) -> list[tuple[str, float, list[float], str]]:
    """Each score with its interval, and by what method that was found."""
    methods = summary["interval_methods"]
    return [
        (name, summary[name], interval, methods[name])
        for name, interval in summary["intervals"].items()
    ]
