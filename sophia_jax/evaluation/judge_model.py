"""A model of answers and of a judge's scores, in which any k and T can be computed.

A question is of one of a few classes. Its answers are drawn independently: each is
right with the class's own rate, and has one of a few levels of score, by the class and
by whether it is right. So a class may be one of hard questions on which a judge is
misled, and what is chosen out of k answers follows exactly, for any k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.evaluation.selection import STEP, places_of

__all__ = ["JudgeModel", "best_num_samples", "best_temperature", "predict_accuracy"]

TEMPERATURES_TRIED = 81  # from a hundredth of the scores' range to ten times it


@dataclass(frozen=True)
class JudgeModel:
    """How often answers are right, and what scores they get.

    Attributes:
      levels: Float[level], scores in ascending order; the first is nan, for none.
      shares: Float[class], of the questions, which sum to 1.
      probs: Float[class outcome level], of an answer, which sum to 1 in each class;
        outcome 0 is wrong, 1 is right.
      edges: Float[level - 2], the least score of each level but the first two.
      setting: number of classes and strength, of `fit_judge`.
    """

    levels: np.ndarray
    shares: np.ndarray
    probs: np.ndarray
    edges: np.ndarray | None = None
    setting: tuple[int, float] = (1, 1.0)

    @property
    def accuracy(self) -> float:
        """Of a single answer: pass@1."""
        return float(self.shares @ self.probs[:, 1].sum(axis=1))

    @property
    def concordance(self) -> float:
        """P(a right answer beats a wrong one to the same question), ties half; a mean
        over questions, by how many such pairs a question has; nan where none has."""
        wrong, right = self.probs[:, 0, 1:], self.probs[:, 1, 1:]
        below = np.cumsum(wrong, axis=1) - wrong / 2
        won = self.shares @ (right * below).sum(axis=1)
        pairs = self.shares @ (right.sum(axis=1) * wrong.sum(axis=1))
        return float(won / pairs) if pairs > 0 else math.nan


def predict_accuracy(
    model: JudgeModel, ks: Sequence[float], *, temperature: float
) -> np.ndarray:
    """How likely the answer that is chosen out of k fresh ones is right.

        T = 0:  sum_c π_c sum_l [F_c(l)^k - F_c(l - 1)^k] P(right | l, c)
        T > 0:  sum_c π_c int k E_c[c w u e^(-u w)] E_c[e^(-u w)]^(k - 1) d(log u)

    with F_c(l) the probability of a level up to l, none included, w = e^(r / T) the
    weight of an answer, and 0 that of one without a score. For k = inf it is what the
    best level says, and E_c[c w] / E_c[w].

    Args:
      model: of the answers and their scores.
      ks: each k >= 1, inf included.
      temperature: T >= 0 in units of the scores, inf included.

    Returns:
      Float64[k], in [0, 1].

    Raises:
      ValueError: a k or the temperature is out of its range.
    """
    for k in ks:
        if not k >= 1:
            raise ValueError(f"k: expected >= 1, got {k}")
    if not temperature >= 0:
        raise ValueError(f"temperature: expected >= 0, got {temperature}")
    ks = np.asarray(ks, np.float64)
    if temperature == 0:
        found = [_best(probs, ks) for probs in model.probs]
    else:
        found = _weighted(model, ks, temperature)
    return np.clip(model.shares @ np.array(found), 0.0, 1.0)


def best_num_samples(
    model: JudgeModel, *, temperature: float, most: int = 4096
) -> int | None:
    """The k after which more answers make the choice worse.

    Args:
      model: of the answers and their scores.
      temperature: T of the choice.
      most: the largest k that is looked at.

    Returns:
      The k with the highest accuracy, of 1 to 64 and powers of 2^(1/8) beyond; None
      where no k up to `most` is better than k = inf.
    """
    beyond = np.round(64 * 2 ** np.arange(0, 24, 0.125)).astype(int)
    ks = [k for k in (*range(1, 64), *beyond.tolist()) if k <= most]
    found = predict_accuracy(model, [*ks, math.inf], temperature=temperature)
    best = int(np.argmax(found[:-1]))
    is_better = found[best] > found[-1] + 1e-9
    return ks[best] if is_better and best < len(ks) - 1 else None


def best_temperature(model: JudgeModel, *, num_samples: float) -> float:
    """The T at which the choice among k answers is right most often.

    Args:
      model: of the answers and their scores.
      num_samples: k.

    Returns:
      Of 0, inf, and numbers between a hundredth of the scores' range and ten times it,
      the one with the highest accuracy; the smallest of equally good ones.
    """
    known = model.levels[1:]
    spread = float(np.ptp(known)) if len(known) else 0.0
    tried = [0.0, math.inf]
    if spread > 0:
        tried[1:1] = np.geomspace(
            spread / 100, spread * 10, TEMPERATURES_TRIED
        ).tolist()
    found = [
        predict_accuracy(model, [num_samples], temperature=each)[0] for each in tried
    ]
    best = max(found)
    return next(t for t, value in zip(tried, found, strict=True) if value > best - 1e-9)


def _best(probs: np.ndarray, ks: np.ndarray) -> np.ndarray:
    """Float[k]: of one class, at T = 0; probs is Float[outcome level]."""
    level = probs.sum(axis=0)
    # That it is right, of an answer of each level.
    right = np.divide(probs[1], level, out=np.zeros_like(level), where=level > 0)
    up_to = np.cumsum(level) / level.sum()
    powers = up_to[:, None] ** np.where(np.isinf(ks), 1.0, ks)
    found = right[1:] @ np.diff(powers, axis=0)
    known = np.flatnonzero(level[1:] > 0)
    highest = right[1:][known[-1]] if len(known) else 0.0
    return np.where(np.isinf(ks), highest, found)


def _weighted(
    model: JudgeModel, ks: np.ndarray, temperature: float
) -> list[np.ndarray]:
    """Float[k] of each class, at T > 0."""
    known = model.levels[1:]
    log_weights = (known - known.max()) / temperature
    is_finite = np.isfinite(ks)
    ks = np.where(is_finite, ks, 1.0)
    log_u = places_of(log_weights, ks.max())
    load = np.exp(log_u[:, None] + log_weights)  # u w
    lost, drawn = -np.expm1(-load), load * np.exp(-load)
    found = []
    for wrong, right in model.probs[:, :, 1:]:
        others = np.log1p(-np.minimum(lost @ (wrong + right), 1 - 1e-16))
        rest = np.exp((ks - 1) * others[:, None])
        finite = STEP * ks * ((drawn @ right) @ rest)
        total = np.exp(log_weights) @ (wrong + right)
        limit = np.exp(log_weights) @ right / total if total > 0 else 0.0
        found.append(np.where(is_finite, finite, limit))
    return found
