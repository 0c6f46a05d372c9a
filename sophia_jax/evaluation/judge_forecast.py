"""What a judge would do among many answers, foretold on one half of the questions.

The other half says how far that is true.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sophia_jax.evaluation.judge_fit import Answers, fit_judge, refit
from sophia_jax.evaluation.judge_model import (
    JudgeModel,
    best_num_samples,
    best_temperature,
    predict_accuracy,
)
from sophia_jax.evaluation.judged import within_question_concordance
from sophia_jax.evaluation.selection import reward_weighted_accuracy
from sophia_jax.evaluation.turning_point import turning_point

__all__ = ["answers_of", "centred", "forecast"]

CONFIDENCE = 0.95


def answers_of(questions: Sequence[Sequence[Mapping[str, Any]]]) -> list[Answers]:
    """The scores and outcomes of questions whose rows are of `PREDICTIONS`."""
    return [
        (
            np.array([math.nan if r["score"] is None else r["score"] for r in rows]),
            np.array([row["verdict"] == "right" for row in rows]),
        )
        for rows in questions
    ]


def centred(answers: Answers) -> Answers:
    """Scores less their median, 0 where none is known: the choice is the same.

    What a judge thinks of a question as a whole decides nothing, and would hide what it
    thinks of the answers.

    Args:
      answers: of one question.
    """
    scores, right = answers
    known = scores[~np.isnan(scores)]
    return scores - (np.median(known) if len(known) else 0.0), right


def forecast(
    questions: Sequence[Answers],
    *,
    ks: Sequence[int],
    temperatures: Sequence[float],
    fit_samples: int = 8,
    num_resamples: int = 200,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a judge on some answers to half of the questions; foretell the other half.

    The fit is to scores that are `centred` within their question.

    Args:
      questions: scored answers, equally many to each of four questions or more.
      ks: each k, in [1, answers to a question].
      temperatures: each T of the choice, >= 0, in units of the scores.
      fit_samples: how many answers to a question of the first half are looked at.
      num_resamples: how often the questions of both halves are drawn anew, with
        return, for the 95 % intervals; the model is fitted to each.
      seed: of the halves and of the draws.

    Returns:
      `curves`, one for each T: `temperature`, and lists over `k` of what is
      `predicted` and `measured`, their `predicted_interval` and `measured_interval`,
      and the interval of their `difference`, which holds 0 where the forecast is true:
      `missed` has each k where it does not;
      `best_num_samples`, the k after which accuracy falls, foretold and with an
      interval (null for a k that is never reached), and as of `turning_point`;
      `best_temperature`, the same at the largest k, the measured one of those given
      (inf is a float, for which JSON has no word);
      and `pass@1`, `concordance` of both halves, the model's `classes`, and which
      questions it was `measured_on`.

    Raises:
      ValueError: a number is out of its range, or as of `fit_judge`.
    """
    _check(questions, fit_samples, num_resamples)
    random = np.random.default_rng(seed)
    order = random.permutation(len(questions)).tolist()
    half = len(order) // 2
    first = [
        centred(tuple(each[:fit_samples] for each in questions[place]))
        for place in order[:half]
    ]
    rest = [questions[place] for place in order[half:]]
    model = fit_judge(first)
    fits = refit(model, first, _draws(random, num_resamples, len(first)))
    draws = _draws(random, num_resamples, len(rest))
    curves, best = [], []
    for each in temperatures:
        measured = _measured(rest, ks, each)
        curves.append(_curve(model, fits, measured, draws, ks, each))
        best.append(_best_k(model, fits, measured, draws, ks, each))
    return {
        "curves": curves,
        "best_num_samples": best,
        "best_temperature": _best_t(model, fits[:50], curves, ks),
        "pass@1": _both(model.accuracy, rest, lambda scores, right: right.mean()),
        "concordance": _both(model.concordance, rest, within_question_concordance),
        "classes": len(model.shares),
        "num_questions": [len(first), len(rest)],
        "measured_on": order[half:],
        "fit_samples": len(first[0][0]),
    }


def _check(questions: Sequence[Answers], fit_samples: int, num_resamples: int) -> None:
    sizes = {len(scores) for scores, _ in questions}
    if len(questions) < 4 or len(sizes) != 1:
        raise ValueError(
            "questions: expected four or more, with equally many answers, got "
            f"{len(questions)} with {sorted(sizes)}"
        )
    for name, value in (("fit_samples", fit_samples), ("num_resamples", num_resamples)):
        if value < 1:
            raise ValueError(f"{name}: expected >= 1, got {value}")


def _draws(random: np.random.Generator, times: int, number: int) -> np.ndarray:
    """Float[resample question]: how often each is drawn, when as many are."""
    shares = np.full(number, 1 / number)
    return random.multinomial(number, shares, times).astype(np.float64)


def _measured(
    rest: Sequence[Answers], ks: Sequence[int], temperature: float
) -> np.ndarray:
    """Float[question k]"""
    return np.array(
        [reward_weighted_accuracy(*each, ks, temperature=temperature) for each in rest]
    )


def _curve(
    model: JudgeModel,
    fits: Sequence[JudgeModel],
    measured: np.ndarray,
    draws: np.ndarray,
    ks: Sequence[int],
    temperature: float,
) -> dict[str, Any]:
    predicted = predict_accuracy(model, ks, temperature=temperature)
    again = np.array([predict_accuracy(f, ks, temperature=temperature) for f in fits])
    means = draws @ measured / len(measured)
    difference = _interval(again - means)
    return {
        "temperature": temperature,
        "k": list(ks),
        "predicted": predicted.tolist(),
        "predicted_interval": _interval(again),
        "measured": measured.mean(axis=0).tolist(),
        "measured_interval": _interval(means),
        "difference": difference,
        "missed": [
            k
            for k, (low, high) in zip(ks, difference, strict=True)
            if not low <= 0 <= high
        ],
    }


def _best_k(
    model: JudgeModel,
    fits: Sequence[JudgeModel],
    measured: np.ndarray,
    draws: np.ndarray,
    ks: Sequence[int],
    temperature: float,
) -> dict[str, Any]:
    predicted = best_num_samples(model, temperature=temperature)
    found = [best_num_samples(fit, temperature=temperature) for fit in fits]
    never = [math.inf if each is None else float(each) for each in found]
    low, high = np.quantile(never, _tails(), method="inverted_cdf")
    return {
        "temperature": temperature,
        "predicted": predicted,
        "interval": [_finite(low), _finite(high)],
        **_in_order(ks, measured, draws, predicted),
    }


def _in_order(
    ks: Sequence[int], measured: np.ndarray, draws: np.ndarray, predicted: int | None
) -> dict[str, Any]:
    order = np.argsort(ks)
    return turning_point(
        measured[:, order], draws, [ks[place] for place in order], predicted
    )


def _best_t(
    model: JudgeModel,
    fits: Sequence[JudgeModel],
    curves: Sequence[Mapping[str, Any]],
    ks: Sequence[int],
) -> dict[str, Any]:
    most = max(ks)
    place = list(ks).index(most)
    found = [best_temperature(fit, num_samples=most) for fit in fits]
    low, high = np.quantile(found, _tails(), method="inverted_cdf")
    measured = max(curves, key=lambda curve: curve["measured"][place])
    return {
        "k": most,
        "predicted": best_temperature(model, num_samples=most),
        "interval": [float(low), float(high)],
        "measured": measured["temperature"],
    }


def _both(
    predicted: float,
    rest: Sequence[Answers],
    measure: Callable[[np.ndarray, np.ndarray], float],
) -> dict[str, float | None]:
    """Of the model, and a mean over the other questions that have any."""
    values = np.array([measure(*each) for each in rest], np.float64)
    known = values[~np.isnan(values)]
    return {
        "predicted": None if math.isnan(predicted) else predicted,
        "measured": float(known.mean()) if len(known) else None,
    }


def _tails() -> list[float]:
    return [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]


def _interval(draws: np.ndarray) -> list[list[float]]:
    """[lower, upper] for each column."""
    return np.quantile(draws, _tails(), axis=0).T.tolist()


def _finite(value: float) -> int | None:
    return int(value) if math.isfinite(value) else None
