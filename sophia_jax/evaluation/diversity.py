"""How varied a policy's answers are: entropy, distinct n-grams, self-BLEU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from sophia_jax.evaluation.metrics import check_values
from sophia_jax.types import Float, typed

__all__ = ["distinct_n", "self_bleu", "sequence_entropy", "token_entropy"]

MOST_WORDS = 4  # of the n-grams of BLEU


@typed
def sequence_entropy(log_probs: Float[np.ndarray, " sample"]) -> float:
    """Entropy of whole answers, from samples.

        H ≈ -1/n Σ_i log π(y_i)

    Args:
      log_probs: log π of whole answers that π gave, in nats.

    Returns:
      H, in nats.

    Raises:
      TypeError: log_probs is not an array of floats.
      ValueError: there is no sample, or a value is not finite.

    Reference:
      Shannon, 1948, "A Mathematical Theory of Communication".
    """
    check_values(log_probs, "log_probs")
    return float(-log_probs.mean(dtype=np.float64))


@typed
def token_entropy(
    log_probs: Float[np.ndarray, " sample"], lengths: Sequence[int]
) -> float:
    """Entropy a token, from samples: what is known of an answer, by how long it is.

        H ≈ -Σ_i log π(y_i) / Σ_i |y_i|

    Args:
      log_probs: log π of whole answers that π gave, in nats.
      lengths: tokens of each, the end token included.

    Returns:
      H, in nats a token.

    Raises:
      TypeError: log_probs is not an array of floats.
      ValueError: there is no sample, a value is not finite, or a length is missing or
        not positive.

    Reference:
      Shannon, 1948, "A Mathematical Theory of Communication", section 7.
    """
    check_values(log_probs, "log_probs")
    if len(lengths) != len(log_probs) or min(lengths) < 1:
        raise ValueError(
            f"lengths: expected {len(log_probs)} numbers >= 1, got {list(lengths)[:5]}"
        )
    return float(-log_probs.sum(dtype=np.float64) / sum(lengths))


def distinct_n(answers: Sequence[Sequence[int]], n: int) -> float:
    """Share of the n-grams of all answers that are different from each other.

        |{n-grams}| / number of n-grams

    It falls with the number of answers: compare equal numbers of them alone.

    Args:
      answers: token ids of each.
      n: tokens of an n-gram, >= 1.

    Returns:
      The share, in [0, 1]; 0 where no answer has n tokens.

    Raises:
      ValueError: n is not positive.

    Reference:
      Li et al., 2016, "A Diversity-Promoting Objective Function for Neural Conversation
      Models", https://arxiv.org/abs/1510.03055.
    """
    found = Counter(gram for answer in answers for gram in _grams(answer, n))
    return len(found) / max(found.total(), 1)


def self_bleu(answers: Sequence[Sequence[int]], *, most: int = MOST_WORDS) -> float:
    """How well each answer is told by the others: 1 where all are the same.

        mean_i BLEU(y_i; all others),   BLEU = b (Π_{n=1}^N p_n)^(1/N)

    with p_n the share of y_i's n-grams that some other answer has as often, and b the
    penalty for being shorter than the other of the closest length. Nothing is smoothed:
    a p_n of 0 makes the answer's BLEU 0. An answer of fewer than N tokens is measured
    by the n-grams that it has.

    Args:
      answers: token ids of each; at least two of them, none empty.
      most: N >= 1.

    Returns:
      The mean, in [0, 1].

    Raises:
      ValueError: there are fewer than two answers, or an empty one; or N is not
        positive.

    Reference:
      Zhu et al., 2018, "Texygen", https://arxiv.org/abs/1802.01886; Papineni et al.,
      2002, "BLEU".
    """
    if len(answers) < 2 or min(map(len, answers)) < 1:
        raise ValueError(
            f"answers: expected two or more with tokens, got {len(answers)} of "
            f"{min(map(len, answers), default=0)} tokens and more"
        )
    orders = [[Counter(_grams(a, n)) for a in answers] for n in range(1, most + 1)]
    shares = [_clipped_shares(counts) for counts in orders]
    lengths = Counter(map(len, answers))
    scores = []
    for number, answer in enumerate(answers):
        present = [each[number] for each in shares][: len(answer)]
        if min(present) > 0:
            mean = math.fsum(map(math.log, present)) / len(present)
            scores.append(math.exp(mean + _brevity(len(answer), lengths)))
    return math.fsum(scores) / len(answers)


def _grams(answer: Sequence[int], n: int) -> list[tuple[int, ...]]:
    if n < 1:
        raise ValueError(f"n: expected >= 1, got {n}")
    tokens = [int(token) for token in answer]
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def _clipped_shares(counts: Sequence[Counter]) -> list[float]:
    """p_n of each answer; the two highest counts of an n-gram say what others have."""
    highest: dict[tuple, tuple[int, int]] = {}
    for counted in counts:
        for gram, count in counted.items():
            first, second = highest.get(gram, (0, 0))
            highest[gram] = max(first, count), max(min(first, count), second)

    def share(counted: Counter) -> float:
        known = 0
        for gram, count in counted.items():
            first, second = highest[gram]
            known += min(count, second if count == first else first)
        return known / max(counted.total(), 1)

    return [share(counted) for counted in counts]


def _brevity(length: int, lengths: Counter) -> float:
    """log b: min(0, 1 - r / length), r the closest length among the others, the
    shorter of two."""
    others = lengths - Counter([length])
    closest = min(others, key=lambda other: (abs(other - length), other))
    return min(0.0, 1 - closest / length)
