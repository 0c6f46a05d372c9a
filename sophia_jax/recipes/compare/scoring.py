"""How an arm's policy does on its seed's held-out questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sophia_jax.data.prompts import DIGITS
from sophia_jax.evaluation.evaluate import read_evaluation
from sophia_jax.models.model import Model
from sophia_jax.recipes.compare.hallucination import is_hallucinated, numbers_named
from sophia_jax.recipes.compare.laboratory import Laboratory
from sophia_jax.recipes.scores import score_policy
from sophia_jax.types import Item

__all__ = ["MEASURES", "is_scored", "measures", "scored_rows"]

MEASURES = {
    "pass@1": "answers that are right",
    "caption_accuracy": "captions that are wholly right",
    "mean_tokens": "tokens of an answer",
    "hallucination": "answers whose think part names a number that is not there",
    "names_numbers": "answers whose think part names a number at all",
}


def is_scored(folder: Path) -> bool:
    """Whether an arm's folder holds its answers."""
    return (folder / "evaluation" / "summary.json").exists()


def scored_rows(lab: Laboratory, name: str, policy: Model) -> list[dict]:
    """The arm's answers and captions; sampled if its folder does not hold them."""
    folder = lab.folder / "arms" / name / "evaluation"
    rows = read_evaluation(folder)
    if rows is None:
        score_policy(folder, policy, lab.verify, lab.held_out, DIGITS, lab.config)
        rows = read_evaluation(folder)
    return rows


def measures(rows: Sequence[Mapping], items: Sequence[Item]) -> dict[str, np.ndarray]:
    """Each of `MEASURES`, a value for each question.

    Args:
      rows: one answer a question, of `scored_rows`.
      items: the questions, with their true captions.

    Returns:
      Float[question] by name.
    """
    true = {item.id: item.caption for item in items}
    columns = {
        "pass@1": [row["verdict"] == "right" for row in rows],
        "caption_accuracy": [row["caption_right"] for row in rows],
        "mean_tokens": [row["num_tokens"] for row in rows],
        "hallucination": [
            is_hallucinated(row["response"], true[row["question_id"]]) for row in rows
        ],
        "names_numbers": [bool(numbers_named(row["response"])) for row in rows],
    }
    return {name: np.array(values, float) for name, values in columns.items()}
