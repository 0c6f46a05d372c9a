"""What more answers bring with one judge: foretold on one half, found on the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sophia_jax.evaluation.judge_forecast import answers_of, forecast
from sophia_jax.evaluation.metrics import bootstrap_interval
from sophia_jax.evaluation.selection import reward_weighted_accuracy
from sophia_jax.evaluation.summary import question_scores
from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig

__all__ = ["judge_findings", "references", "turning_point"]

Rows = Sequence[Mapping[str, Any]]


def judge_findings(
    questions: Sequence[Rows], config: MoreAnswersConfig
) -> dict[str, Any]:
    """The forecast of one judge, and whether more answers harm where it says so.

    Args:
      questions: the rows of each, with the judge's `score`.
      config: of the forecast.

    Returns:
      As of `forecast`, with `turning_points`, one of each T, as of `turning_point`;
      and in each curve `missed`, the k at which the interval of the difference between
      what was foretold and what was measured lies beside 0.
    """
    answers = answers_of(questions)
    found = forecast(
        answers,
        ks=config.ks,
        temperatures=config.temperatures,
        fit_samples=config.fit_samples,
        num_resamples=config.num_resamples,
        seed=config.seed,
    )
    rest = [answers[place] for place in found["measured_on"]]
    points = []
    for curve, best in zip(found["curves"], found["best_num_samples"], strict=True):
        between = zip(curve["k"], curve["difference"], strict=True)
        curve["missed"] = [k for k, (low, high) in between if not low <= 0 <= high]
        temperature = curve["temperature"]
        accuracy = np.array(
            [
                reward_weighted_accuracy(*each, config.ks, temperature=temperature)
                for each in rest
            ]
        )
        point = turning_point(
            accuracy, config.ks, best["predicted"], config.num_resamples, config.seed
        )
        points.append({"temperature": temperature, **point})
    return found | {"turning_points": points}


def turning_point(
    accuracy: np.ndarray,
    ks: Sequence[int],
    predicted: int | None,
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Where accuracy is highest, and what is lost from there to the largest k.

    The k from which the loss counts is the one that was foretold on other questions: at
    that which is best here by luck, it would be too large.

    Args:
      accuracy: Float[question k].
      ks: each k, ascending.
      predicted: the k that was foretold to be the best; None for none.
      num_resamples: draws of the questions.
      seed: of the draws.

    Returns:
      `measured`, the best k, and its 95 % `interval` over the questions; the `at` of
      `ks` that is nearest to what was predicted, and the `loss` from there to the
      largest k with its `loss_interval`, all None where nothing below it was predicted.
    """
    rng = np.random.default_rng((seed, 4))
    number = len(accuracy)
    draws = rng.multinomial(number, np.full(number, 1 / number), num_resamples)
    best = np.array(ks)[np.argmax(draws @ accuracy, axis=1)]
    low, high = np.quantile(best, (0.025, 0.975), method="inverted_cdf")
    found = {
        "measured": int(ks[int(np.argmax(accuracy.mean(axis=0)))]),
        "interval": [int(low), int(high)],
        **dict.fromkeys(("at", "loss", "loss_interval")),
    }
    if predicted is None or predicted >= ks[-1]:
        return found
    place = int(np.argmin([abs(math.log(k / predicted)) for k in ks]))
    if place == len(ks) - 1:
        return found
    losses = accuracy[:, place] - accuracy[:, -1]
    return found | {
        "at": ks[place],
        "loss": float(losses.mean()),
        "loss_interval": list(bootstrap_interval(losses, seed=seed)),
    }


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
