"""A judge's forecast from the folder of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sophia_jax.evaluation.judge_forecast import answers_of, forecast
from sophia_jax.evaluation.predictions import by_question, read_predictions
from sophia_jax.evaluation.summary import usual_pass_k
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.run_folder import write_json
from sophia_jax.types import InputError

__all__ = ["forecast_run", "write_fit"]

COLUMNS = ("question_id", "sample", "verdict", "score")
FEWEST_QUESTIONS = 8
KIND = "judge_fit"


def forecast_run(
    folder: Path,
    *,
    ks: Sequence[int] | None = None,
    temperatures: Sequence[float] = (0.0, 1.0),
    fit_samples: int = 8,
    num_resamples: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit an evaluation's judge on half of its questions, and foretell the other half.

    Args:
      folder: that `evaluate` left, with a judge.
      ks: each k; None for 1, 2, 4, ... and the number of answers.
      temperatures, fit_samples, num_resamples, seed: as of `forecast`.

    Returns:
      As of `forecast`.

    Raises:
      InputError: there are no scores, too few questions, or a k or T is out of its
        range.
    """
    path = folder / "predictions.parquet"
    rows = read_predictions(path, COLUMNS)
    questions = list(by_question(rows, path).values())
    if len(questions) < FEWEST_QUESTIONS:
        raise InputError(
            f"{path}: expected at least {FEWEST_QUESTIONS} questions, got "
            f"{len(questions)}"
        )
    if all(row["score"] is None for row in rows):
        raise InputError(
            f"{path}: expected the scores of a judge, got none; evaluate with --judge"
        )
    try:
        return forecast(
            answers_of(questions),
            ks=usual_pass_k(len(questions[0])) if ks is None else ks,
            temperatures=temperatures,
            fit_samples=fit_samples,
            num_resamples=num_resamples,
            seed=seed,
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def write_fit(folder: Path, evaluation: Path, found: Mapping[str, Any]) -> None:
    """Leave a forecast as `summary.json`, from which a page is made.

    Args:
      folder: of the result.
      evaluation: that was forecast.
      found: of `forecast_run`.
    """
    summary = {
        "kind": KIND,
        "evaluation": str(evaluation),
        "forecast": found,
        "versions": versions(),
        "machine": machine(),
    }
    write_json(folder / "summary.json", summary)
