"""What a judge's scores do for the answers to a set of questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from sophia_jax.evaluation.selection import (
    best_of_k_accuracy,
    reward_weighted_accuracy,
    unscored_share,
)
from sophia_jax.types import Bool, Float, InputError, typed

__all__ = [
    "SelectMethod",
    "Selection",
    "judge_measures",
    "selection_scores",
    "within_question_concordance",
]

SelectMethod = Literal["majority", "best-of-k", "reward-weighted"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Selection:
    """How one of k answers is chosen.

    Attributes:
      methods: "majority", which needs no judge; "best-of-k", the answer with the best
        score; and "reward-weighted", one drawn with weights e^(score / T).
      temperatures: each T of the last, >= 0, in units of the judge's scores.
    """

    methods: tuple[SelectMethod, ...]
    temperatures: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        known = get_args(SelectMethod)
        for method in self.methods:
            if method not in known:
                raise InputError(
                    f"select: expected of {', '.join(known)}, got {method!r}"
                )
        for temperature in self.temperatures:
            if not temperature >= 0:
                raise InputError(
                    f"select_temperature: expected >= 0, got {temperature}"
                )

    @property
    def needs_judge(self) -> bool:
        return bool(set(self.methods) - {"majority"})


def selection_scores(
    questions: Sequence[Rows], ks: Sequence[int], selection: Selection
) -> dict[str, np.ndarray]:
    """How likely the chosen one of k answers to each question is right.

    Args:
      questions: the rows of each, one for each sample, with the judge's `score`.
      ks: each k, in [1, number of samples].
      selection: how it is chosen; "majority" is passed over, as `question_scores` has
        it in any case.

    Returns:
      Float[question] in [0, 1] by name, as "best-of-k@4" and "reward-weighted@4 T=1",
      as of `best_of_k_accuracy` and `reward_weighted_accuracy`.
    """
    scored = [_scores_and_outcomes(rows) for rows in questions]
    found = {}
    if "best-of-k" in selection.methods and ks:
        curves = np.array([best_of_k_accuracy(*each, ks) for each in scored])
        names = [f"best-of-k@{k}" for k in ks]
        found |= dict(zip(names, curves.T, strict=True))
    if "reward-weighted" in selection.methods and ks:
        for temperature in selection.temperatures:
            curves = np.array(
                [
                    reward_weighted_accuracy(*each, ks, temperature=temperature)
                    for each in scored
                ]
            )
            names = [f"reward-weighted@{k} T={temperature:g}" for k in ks]
            found |= dict(zip(names, curves.T, strict=True))
    return found


def judge_measures(questions: Sequence[Rows], ks: Sequence[int]) -> dict[str, Any]:
    """How good a judge is, and how often it says nothing.

    Args:
      questions: the rows of each, one for each sample, with the judge's `score`.
      ks: each k.

    Returns:
      Numbers of answers: `scored`, `missing` (asked about without a score) and
      `not_asked` (cut off); `unscored` by k, how often none of k answers has a score,
      so that none is chosen; `concordance`, the mean over questions of
      `within_question_concordance`, None where no question has both kinds of answers;
      and the mean scores `of_right` and `of_wrong` answers, likewise.
    """
    scored = [_scores_and_outcomes(rows) for rows in questions]
    scores = np.concatenate([each for each, _ in scored])
    right = np.concatenate([each for _, each in scored])
    whole = sum(row["finish_reason"] == "stop" for rows in questions for row in rows)
    concordance = [within_question_concordance(*each) for each in scored]
    known = [each for each in concordance if not math.isnan(each)]
    silent = [(int(np.isnan(each).sum()), len(each)) for each, _ in scored]
    num_scored = int((~np.isnan(scores)).sum())
    return {
        "scored": num_scored,
        "missing": int(whole - num_scored),
        "not_asked": int(len(scores) - whole),
        "unscored": {
            str(k): float(np.mean([unscored_share(*each, k) for each in silent]))
            for k in ks
        },
        "concordance": float(np.mean(known)) if known else None,
        "of_right": _mean(scores[right]),
        "of_wrong": _mean(scores[~right]),
    }


@typed
def within_question_concordance(
    scores: Float[np.ndarray, " sample"], right: Bool[np.ndarray, " sample"]
) -> float:
    """How often a right answer has a better score than a wrong one to the question.

        P(r_i > r_j) + 1/2 P(r_i = r_j),   i right, j wrong, both with a score

    1/2 is a judge that knows nothing of this question, below that one that misleads.

    Args:
      scores: larger is better; nan is missing.
      right: whether each answer is.

    Returns:
      The share, in [0, 1]; nan where there are not both kinds.
    """
    known = ~np.isnan(scores)
    good, bad = scores[known & right], scores[known & ~right]
    if not (len(good) and len(bad)):
        return math.nan
    signs = np.sign(good[:, None] - bad[None, :])
    return float((signs.mean() + 1) / 2)


def _scores_and_outcomes(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    scores = [math.nan if row["score"] is None else row["score"] for row in rows]
    rights = [row["verdict"] == "right" for row in rows]
    return np.array(scores, np.float64), np.array(rights)


def _mean(scores: np.ndarray) -> float | None:
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else None
