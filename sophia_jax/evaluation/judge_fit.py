"""How good a judge is, from a few scored answers, and what it would do among many."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from sophia_jax.evaluation.judge_model import JudgeModel

__all__ = ["Answers", "fit_judge", "log_likelihood", "refit"]

Answers = tuple[np.ndarray, np.ndarray]
"""A question's Float[sample] scores, nan for none, and Bool[sample] outcomes."""

CLASSES = (1, 2, 3, 4, 6)  # numbers of classes that are tried
STRENGTHS = (3.0, 30.0, 300.0)  # answers, see `_maximise`
FOLDS = 5
MOST_STEPS = 300
TOLERANCE = 1e-6  # of the mean log-likelihood of a question
MOST_LEVELS = 24
FEWEST_IN_LEVEL = 8  # answers
RATE_PRIOR = 0.5  # right and wrong answers that are added to each class


def fit_judge(questions: Sequence[Answers]) -> JudgeModel:
    """The likeliest model of some questions' answers and scores.

    By expectation maximisation over the classes of the questions. Their number, and how
    far the judge's ways may differ between them, are those that foretell best what is
    left out in five folds of the questions. Nothing in it is random.

    Args:
      questions: at least two, each with one answer or more.

    Returns:
      The model. Scores that are more than 24 different ones become levels of equally
      many answers each, but for the best ones, of which there are finer levels.

    Raises:
      ValueError: there are fewer than two questions, one has no answer, or no answer
        has a score.
    """
    _check(questions)
    levels, edges = _levels(np.concatenate([scores for scores, _ in questions]))
    counts = np.array([_count(each, edges) for each in questions])
    everyone = np.ones(len(counts))
    fold = np.arange(len(counts)) % FOLDS

    def foretold(setting: tuple[int, float]) -> float:
        total = 0.0
        for left_out in range(min(FOLDS, len(counts))):
            weights = (fold != left_out).astype(float)
            shares, probs = _maximise(counts, weights, *setting)
            total += _log_likelihoods(counts[fold == left_out], shares, probs).sum()
        return total

    classes = [number for number in CLASSES if number <= len(counts) // 2]
    best = max(itertools.product(classes, STRENGTHS), key=foretold)
    return JudgeModel(levels, *_maximise(counts, everyone, *best), edges, best)


def refit(
    model: JudgeModel, questions: Sequence[Answers], draws: np.ndarray
) -> list[JudgeModel]:
    """The likeliest models with as many classes, from questions drawn anew.

    Args:
      model: of these questions, where to start.
      questions: as of `fit_judge`.
      draws: Float[resample question], how often each counts.
    """
    counts = np.array([_count(each, model.edges) for each in questions])
    start = _responsibilities(counts, model.shares, model.probs)
    fitted = (_maximise(counts, each, *model.setting, start=start) for each in draws)
    return [
        JudgeModel(model.levels, *each, model.edges, model.setting) for each in fitted
    ]


def log_likelihood(model: JudgeModel, questions: Sequence[Answers]) -> float:
    """Mean over the questions, in nats.

    Args:
      model: fitted, to these or to others.
      questions: as of `fit_judge`.
    """
    counts = np.array([_count(each, model.edges) for each in questions])
    return float(_log_likelihoods(counts, model.shares, model.probs).mean())


def _check(questions: Sequence[Answers]) -> None:
    if len(questions) < 2:
        raise ValueError(f"questions: expected at least 2, got {len(questions)}")
    for number, (scores, right) in enumerate(questions):
        if not len(scores) or len(scores) != len(right):
            raise ValueError(
                f"questions[{number}]: expected as many scores as outcomes, at least "
                f"1, got {len(scores)} and {len(right)}"
            )
    if all(np.isnan(scores).all() for scores, _ in questions):
        raise ValueError("scores: expected at least one, got none that is not missing")


def _levels(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores in ascending order, behind nan for none, and the bounds between them."""
    known = np.sort(scores[~np.isnan(scores)])
    values = np.unique(known)
    if len(values) > MOST_LEVELS:
        even = np.linspace(0, 0.75, MOST_LEVELS // 2, endpoint=False)
        fine = 1 - 0.25 * 2.0 ** -np.arange(MOST_LEVELS // 2)
        fine = fine[(1 - fine) * len(known) >= FEWEST_IN_LEVEL]
        starts = np.unique((np.append(even, fine) * len(known)).astype(int))
        values = np.unique(known[starts])
    edges = values[1:]
    level = np.searchsorted(edges, known, side="right")
    sizes = np.bincount(level, minlength=len(values))
    means = np.bincount(level, known, minlength=len(values)) / np.maximum(sizes, 1)
    return np.append(math.nan, means), edges


def _count(answers: Answers, edges: np.ndarray) -> np.ndarray:
    """Float[outcome level]: of a question's answers."""
    scores, right = answers
    level = np.where(
        np.isnan(scores), 0, 1 + np.searchsorted(edges, scores, side="right")
    )
    counts = np.zeros((2, len(edges) + 2))
    np.add.at(counts, (np.asarray(right, int), level), 1.0)
    return counts


def _maximise(
    counts: np.ndarray,
    weights: np.ndarray,
    num_classes: int,
    strength: float,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Shares and probabilities of the classes, by expectation maximisation.

    The scores of right answers in a class are as if `strength` further ones had the
    scores of all right answers, and those of wrong ones likewise: so classes differ in
    the judge's ways only as far as there are answers that say so.
    """
    pooled = np.tensordot(weights, counts, 1)
    prior = (pooled + 1e-3) / (pooled + 1e-3).sum(axis=1, keepdims=True)
    member = _first_classes(counts, num_classes) if start is None else start
    before = -math.inf
    for _ in range(MOST_STEPS):
        member = member * weights[:, None]
        shares = (member.sum(axis=0) + 0.5) / (member.sum() + 0.5 * num_classes)
        found = np.tensordot(member.T, counts, 1)  # [class outcome level]
        number = found.sum(axis=2, keepdims=True)  # [class outcome 1]
        rate = (number + RATE_PRIOR) / (
            number.sum(axis=1, keepdims=True) + 2 * RATE_PRIOR
        )
        scored = (found + strength * prior) / (number + strength)
        probs = rate * scored
        joint = _log_joint(counts, shares, probs)
        each = np.logaddexp.reduce(joint, axis=1)
        member = np.exp(joint - each[:, None])
        likely = weights @ each / weights.sum()
        if likely - before < TOLERANCE:
            break
        before = likely
    return shares, probs


def _first_classes(counts: np.ndarray, num_classes: int) -> np.ndarray:
    """Float[question class]: equal parts of the questions, the easy ones last; of
    equally easy ones, those whose right answers stand out last."""
    total = counts.sum(axis=(1, 2))
    rate = counts[:, 1].sum(axis=1) / total
    level = np.arange(counts.shape[2])
    gap = (counts[:, 1] - counts[:, 0]) @ level / total
    order = np.lexsort((gap, rate))
    part = np.empty(len(counts), int)
    part[order] = np.arange(len(counts)) * num_classes // len(counts)
    member = np.full((len(counts), num_classes), 0.1 / num_classes)
    member[np.arange(len(counts)), part] += 0.9
    return member


def _log_joint(counts: np.ndarray, shares: np.ndarray, probs: np.ndarray) -> np.ndarray:
    flat = counts.reshape(len(counts), -1), np.log(probs).reshape(len(probs), -1)
    return np.log(shares) + flat[0] @ flat[1].T


def _log_likelihoods(
    counts: np.ndarray, shares: np.ndarray, probs: np.ndarray
) -> np.ndarray:
    return np.logaddexp.reduce(_log_joint(counts, shares, probs), axis=1)


def _responsibilities(
    counts: np.ndarray, shares: np.ndarray, probs: np.ndarray
) -> np.ndarray:
    joint = _log_joint(counts, shares, probs)
    return np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
