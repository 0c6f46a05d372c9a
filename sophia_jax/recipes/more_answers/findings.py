"""What more answers bring with one judge: foretold on one half, found on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sophia_jax.evaluation.judge_forecast import answers_of, forecast
from sophia_jax.evaluation.judged import judge_measures
from sophia_jax.evaluation.summary import question_scores
from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig

__all__ = ["different_texts", "judge_findings", "references"]

Rows = Sequence[Mapping[str, Any]]


def judge_findings(
    questions: Sequence[Rows], config: MoreAnswersConfig
) -> dict[str, Any]:
    """The forecast of one judge beside what happens, and how good the judge is.

    Args:
      questions: the rows of each, with the judge's `score`.
      config: of the forecast.

    Returns:
      As of `forecast`, with `measures`, as of `judge_measures` over all questions.
    """
    found = forecast(
        answers_of(questions),
        ks=config.ks,
        temperatures=config.temperatures,
        fit_samples=config.fit_samples,
        num_resamples=config.num_resamples,
        seed=config.seed,
    )
    return found | {"measures": judge_measures(questions, config.ks)}


def references(questions: Sequence[Rows], ks: Sequence[int]) -> dict[str, list[float]]:
    """What needs no judge: pass@k, which no choice exceeds, and the majority's answer.

    Args:
      questions: the rows of each.
      ks: each k, 1 first.

    Returns:
      `pass` and `majority`, a mean over the questions for each k.
    """
    scores = {name: v.mean() for name, v in question_scores(questions, ks).items()}
    single = float(scores["pass@1"])
    return {
        name: [single, *(float(scores[f"{name}@{k}"]) for k in ks[1:])]
        for name in ("pass", "majority")
    }


def different_texts(questions: Sequence[Rows]) -> dict[str, float]:
    """How many different texts are among the answers to a question, right and wrong.

    A judge scores a text once, however often it comes. Where most right answers are one
    text and wrong ones are many, more answers bring more wrong texts to choose from.

    Args:
      questions: the rows of each.

    Returns:
      Means over the questions: `right` and `wrong`.
    """
    texts = [
        {(row["response"], row["verdict"] == "right") for row in rows}
        for rows in questions
    ]
    total = [len(each) for each in texts]
    right = [sum(is_right for _, is_right in each) for each in texts]
    mean_right = sum(right) / len(right)
    return {"right": mean_right, "wrong": sum(total) / len(total) - mean_right}
