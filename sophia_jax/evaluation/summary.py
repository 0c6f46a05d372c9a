"""What the answers to a set of questions come to, by subject, level and type."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sophia_jax.evaluation.answers import answer_type, number_answers
from sophia_jax.evaluation.judged import Selection, judge_measures, selection_scores
from sophia_jax.evaluation.metrics import (
    bootstrap_interval,
    majority_at_k,
    pass_at_k,
    wilson_interval,
)
from sophia_jax.evaluation.predictions import by_question
from sophia_jax.types import InputError

__all__ = [
    "SUMMARY_COLUMNS",
    "check_pass_k",
    "question_scores",
    "summarize",
    "usual_pass_k",
]

SUMMARY_COLUMNS = (
    *("question_id", "sample", "kind", "level", "answer", "extracted", "verdict"),
    *("caption_right", "num_tokens", "finish_reason", "score"),
)
"""The columns of `PREDICTIONS` that `summarize` looks at."""

Rows = Sequence[Mapping[str, Any]]


def summarize(
    rows: Rows,
    *,
    pass_k: Sequence[int] = (1,),
    seed: int = 0,
    selection: Selection | None = None,
) -> dict:
    """Scores with their 95 % intervals, over all questions and for parts of them.

    Scores are means over the questions: pass@1, the share of right answers; for each k
    above 1 pass@k, as of `pass_at_k`, and majority@k, as of `majority_at_k`, where
    answers are equal as `number_answers` says; and those of `selection_scores`, where
    there is a judge. Intervals are Wilson's where each
    question scores 0 or 1, as with one answer each, and `bootstrap_interval` over the
    questions elsewhere. An undecided answer and one that was cut off are not right.

    Args:
      rows: of `answer_questions` or `read_captions`, or their `SUMMARY_COLUMNS`.
      pass_k: each k, in [1, number of samples]; 1 is always reported.
      seed: of the bootstrap.
      selection: how one of k answers is chosen by the scores of a judge; None where
        there is none.

    Returns:
      `num_questions`, `num_samples` (of each question), each score by its name, its
      interval in `intervals` and by what method in `interval_methods`, `interval` (of
      pass@1); shares of answers in [0, 1] (`parsed`, and `caption_accuracy`, None where
      no true caption is known); `mean_tokens` of an answer; counts of answers
      (`cut_off`, `undecided`); the scores of parts: `by_kind`, `by_answer_type`, and
      `by_level` where there are levels; and `judge`, where there is one, as of
      `judge_measures`.

    Raises:
      InputError: there is no row, a sample is missing or comes twice, or a k is out of
        its range.
    """
    grouped = by_question(rows, "rows")
    questions = list(grouped.values())
    check_pass_k(pass_k, len(questions[0]))
    scores = question_scores(questions, pass_k)
    judged = selection is not None and selection.needs_judge
    ks = sorted({*pass_k, 1})
    if judged:
        scores |= selection_scores(questions, ks[1:], selection)
    captions = [
        row["caption_right"] for row in rows if row["caption_right"] is not None
    ]
    firsts = [question[0] for question in questions]

    def by(name: Callable[[Mapping[str, Any]], str]) -> dict[str, dict]:
        return _scores_by([name(row) for row in firsts], scores, seed)

    levels = by(lambda row: row["level"])
    return {
        **_mean_scores(scores, seed),
        "num_samples": len(questions[0]),
        "parsed": sum(row["extracted"] is not None for row in rows) / len(rows),
        "caption_accuracy": sum(captions) / len(captions) if captions else None,
        "mean_tokens": sum(row["num_tokens"] for row in rows) / len(rows),
        "cut_off": sum(row["finish_reason"] == "length" for row in rows),
        "undecided": sum(row["verdict"] == "undecided" for row in rows),
        "by_kind": by(lambda row: row["kind"]),
        **({"by_level": levels} if set(levels) != {""} else {}),
        "by_answer_type": by(lambda row: answer_type(row["answer"])),
        **({"judge": judge_measures(questions, ks)} if judged else {}),
    }


def usual_pass_k(num_samples: int) -> tuple[int, ...]:
    """1, 2, 4, ... and the number of samples: each k where none is asked for."""
    powers = itertools.takewhile(
        lambda k: k < num_samples, (2**exponent for exponent in itertools.count())
    )
    return (*powers, num_samples)


def check_pass_k(pass_k: Sequence[int], num_samples: int) -> None:
    """See that so many samples can be drawn.

    Raises:
      InputError: a k is not in [1, num_samples].
    """
    for k in pass_k:
        if not 1 <= k <= num_samples:
            raise InputError(
                f"pass_k: expected 1 to the {num_samples} samples of a question, got "
                f"{k}"
            )


def question_scores(
    questions: Sequence[Rows], pass_k: Sequence[int]
) -> dict[str, np.ndarray]:
    """The scores of each question.

    Args:
      questions: the rows of each, one for each sample.
      pass_k: each k, in [1, number of samples].

    Returns:
      Float[question] in [0, 1] by name: pass@1, and pass@k and majority@k for each
      other k, ascending.
    """
    rights = [[row["verdict"] == "right" for row in rows] for rows in questions]
    ids = [number_answers([row["extracted"] for row in rows]) for rows in questions]
    scores = {"pass@1": np.array([np.mean(right) for right in rights])}
    larger = sorted(set(pass_k) - {1})
    for k in larger:
        passed = [pass_at_k(len(right), sum(right), k) for right in rights]
        scores[f"pass@{k}"] = np.array(passed)
    for k in larger:
        voted = [majority_at_k(*each, k) for each in zip(ids, rights, strict=True)]
        scores[f"majority@{k}"] = np.array(voted)
    return scores


def _scores_by(
    names: Sequence[str], scores: Mapping[str, np.ndarray], seed: int
) -> dict[str, dict]:
    """The scores of the questions of each name, in the order of names or numbers."""
    of_question = np.array(names)
    by_number = all(name.isdecimal() for name in names)
    return {
        name: _mean_scores(
            {score: each[of_question == name] for score, each in scores.items()}, seed
        )
        for name in sorted(sorted(set(names)), key=int if by_number else str)
    }


def _mean_scores(scores: Mapping[str, np.ndarray], seed: int) -> dict:
    intervals = {name: _interval(values, seed) for name, values in scores.items()}
    return {
        **{name: float(values.mean()) for name, values in scores.items()},
        "num_questions": len(scores["pass@1"]),
        "interval": intervals["pass@1"][0],
        "intervals": {name: interval for name, (interval, _) in intervals.items()},
        "interval_methods": {name: method for name, (_, method) in intervals.items()},
    }


def _interval(values: np.ndarray, seed: int) -> tuple[list[float], str]:
    if np.isin(values, (0.0, 1.0)).all():
        return list(wilson_interval(int(values.sum()), len(values))), "Wilson"
    return list(bootstrap_interval(values, seed=seed)), "bootstrap"
