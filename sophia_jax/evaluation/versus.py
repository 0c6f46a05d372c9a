"""Two runs on the same questions, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sophia_jax.evaluation.predictions import by_question
from sophia_jax.evaluation.significance import paired_difference
from sophia_jax.types import InputError

__all__ = ["VERSUS_COLUMNS", "versus"]

VERSUS_COLUMNS = ("question_id", "sample", "kind", "question", "answer", "verdict")
"""The columns of `PREDICTIONS` that `versus` looks at."""

Rows = Sequence[Mapping[str, Any]]


def versus(
    first: Rows,
    second: Rows,
    *,
    names: tuple[str | Path, str | Path],
    common: bool = False,
    seed: int = 0,
) -> dict:
    """Compare pass@1 of two runs, question by question.

    Args:
      first: rows of `PREDICTIONS`, or their `VERSUS_COLUMNS`.
      second: the same of the other run; it may have another number of samples.
      names: where the two come from, for messages.
      common: compare the questions that both have, where one has more.
      seed: of the resamples.

    Returns:
      The fields of `PairedDifference`, `num_questions`, `only_first` and `only_second`
      (questions that were left out), the same of the questions of each kind in
      `by_kind`, and the questions that score differently in `changed`, the largest
      gains first: `question_id`, `kind`, and `first` and `second`, the shares of right
      answers.

    Raises:
      InputError: a run is empty or has a sample twice or not at all; the runs have
        other questions, or other texts or answers of the same ones.
    """
    runs = [
        by_question(r, name) for r, name in zip((first, second), names, strict=True)
    ]
    shared = [question for question in runs[0] if question in runs[1]]
    _check_same_questions(runs, shared, names, common=common)
    kinds = np.array([runs[0][question][0]["kind"] for question in shared])
    scores = [np.array([_share(run[question]) for question in shared]) for run in runs]

    def compared(which: np.ndarray) -> dict:
        pair = paired_difference(scores[0][which], scores[1][which], seed=seed)
        return asdict(pair) | {"num_questions": int(which.sum())}

    changed = np.flatnonzero(scores[0] != scores[1])
    gains = scores[0] - scores[1]
    return {
        **compared(np.ones(len(shared), bool)),
        "only_first": len(runs[0]) - len(shared),
        "only_second": len(runs[1]) - len(shared),
        "by_kind": {
            kind: compared(kinds == kind) for kind in sorted(set(kinds.tolist()))
        },
        "changed": [
            {
                "question_id": shared[index],
                "kind": str(kinds[index]),
                "first": float(scores[0][index]),
                "second": float(scores[1][index]),
            }
            for index in changed[np.argsort(gains[changed], kind="stable")]
        ],
    }


def _share(rows: Rows) -> float:
    return sum(row["verdict"] == "right" for row in rows) / len(rows)


def _check_same_questions(
    runs: Sequence[Mapping[str, Rows]],
    shared: Sequence[str],
    names: tuple[str | Path, str | Path],
    *,
    common: bool,
) -> None:
    for field in ("question", "answer"):
        texts = [[run[question][0][field] for question in shared] for run in runs]
        for question, one, other in zip(shared, *texts, strict=True):
            if one != other:
                raise InputError(
                    f"{names[1]}: {field} of {question!r}: expected {one[:40]!r} as in "
                    f"{names[0]}, got {other[:40]!r}"
                )
    if not shared:
        raise InputError(f"{names[1]}: expected questions of {names[0]}, got none")
    known = set(shared)
    alone = [[name for name in run if name not in known] for run in runs]
    if any(alone) and not common:
        missing, more = (f"{len(a)} ({a[0]!r} first)" if a else "0" for a in alone)
        raise InputError(
            f"{names[1]}: expected the questions of {names[0]}, got {missing} missing "
            f"and {more} more; --common compares the {len(shared)} that both have"
        )
