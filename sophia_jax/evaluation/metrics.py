"""What can be said from right and wrong answers: scores, and how sure they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from sophia_jax.types import Float, typed

__all__ = [
    "batch_sizes",
    "bootstrap_interval",
    "check_values",
    "majority_at_k",
    "pass_at_k",
    "resampled_means",
    "wilson_interval",
]

MOST_VOTES = 1000  # C(1000, 500) is the last in its row that a float holds
RESAMPLES_AT_ONCE = 1000  # bounds the memory
FEWER_DISTINCT = 8  # values than questions: then counts are drawn faster than places


def wilson_interval(
    num_right: int, num_questions: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson's score interval for the probability of a right answer.

        (p̂ + z²/2n ± z √(p̂(1 - p̂)/n + z²/4n²)) / (1 + z²/n),   p̂ = num_right / n

    with z the (1 + confidence)/2 quantile of the standard normal distribution: the
    probabilities p at which p̂ lies within z standard deviations √(p(1 - p)/n).

    Args:
      num_right: right answers, in [0, num_questions].
      num_questions: n, independent questions, at least 1.
      confidence: coverage that is aimed at, in (0, 1).

    Returns:
      The lower and the upper end, in [0, 1].

    Raises:
      ValueError: an argument is out of its range.

    Reference:
      Wilson, Probable inference, the law of succession, and statistical inference,
      Journal of the American Statistical Association 22, 1927.
    """
    _check_counts(num_right, num_questions, "num_questions")
    _check_confidence(confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = num_right / num_questions
    center = share + z**2 / (2 * num_questions)
    half_width = z * math.sqrt(
        share * (1 - share) / num_questions + z**2 / (4 * num_questions**2)
    )
    scale = 1 + z**2 / num_questions
    # At the two ends the equation gives 0 and 1, but for rounding.
    lower = 0.0 if num_right == 0 else (center - half_width) / scale
    upper = 1.0 if num_right == num_questions else (center + half_width) / scale
    return lower, upper


def pass_at_k(num_samples: int, num_right: int, k: int) -> float:
    """Probability that k samples of a question, drawn without return, hold a right one.

        1 - C(n - c, k) / C(n, k) = 1 - ∏_{i = n-c+1}^{n} (1 - k/i)

    The unbiased estimate of pass@k from n ≥ k samples of which c are right.

    Args:
      num_samples: n, at least 1.
      num_right: c, in [0, n].
      k: how many samples may be tried, in [1, n].

    Returns:
      The estimate, in [0, 1]; for k = 1 it is c / n.

    Raises:
      ValueError: an argument is out of its range.

    Reference:
      Chen et al., 2021, https://arxiv.org/abs/2107.03374, section 2.1.
    """
    _check_counts(num_right, num_samples, "num_samples")
    _check_k(k, num_samples)
    num_wrong = num_samples - num_right
    if num_wrong < k:
        return 1.0
    factors = range(num_wrong + 1, num_samples + 1)
    return -math.expm1(math.fsum(math.log1p(-k / i) for i in factors))


def majority_at_k(
    answer_ids: Sequence[int | None], right: Sequence[bool], k: int
) -> float:
    """Probability that k samples of a question, drawn without return, vote right.

        1/C(n, k) Σ_a s_a Σ_v C(n_a, v) Σ_t W_a(v, t) / (1 + t)

    over the different answers a. n_a samples give a, the share s_a of them is right;
    W_a(v, t) is the number of ways to add k - v other samples to v of these, so that t
    other answers come v times as well and none comes more often. So a tie is broken by
    chance, and all subsets and ties are averaged over exactly; nothing is drawn, and
    the order of the samples does not matter. A sample without an answer does not vote;
    where none votes, the vote is wrong.

    Args:
      answer_ids: of each sample, equal where the answers are; None for no answer.
      right: whether each sample is right.
      k: how many samples vote, in [1, n]; n is at most 1000.

    Returns:
      The probability, in [0, 1]; for k = 1 it is the share of right samples, as long as
      no sample without an answer is right.

    Raises:
      ValueError: an argument is out of its range, or the lengths differ.

    Reference:
      Wang et al., 2022, self-consistency, https://arxiv.org/abs/2203.11171, section 2.
    """
    num_samples = len(answer_ids)
    if len(right) != num_samples:
        raise ValueError(
            f"right: expected one for each of {num_samples} samples, got {len(right)}"
        )
    if not 1 <= num_samples <= MOST_VOTES:
        raise ValueError(
            f"answer_ids: expected 1 to {MOST_VOTES} samples, got {num_samples}"
        )
    _check_k(k, num_samples)
    sizes = Counter(answer_ids)
    num_silent = sizes.pop(None, 0)
    rights = Counter(
        a for a, is_right in zip(answer_ids, right, strict=True) if is_right
    )
    ways_to_be_right = math.fsum(
        rights[answer] / size * _ways_to_win(answer, sizes, num_silent, k)
        for answer, size in sizes.items()
        if rights[answer]
    )
    return min(1.0, ways_to_be_right / math.comb(num_samples, k))


def _ways_to_win(
    answer: int, sizes: Mapping[int, int], num_silent: int, k: int
) -> float:
    """Choices of k samples that an answer wins; those with t ties count 1/(1 + t)."""
    rivals = [size for other, size in sizes.items() if other != answer]
    ways = 0.0
    for votes in range(1, min(sizes[answer], k) + 1):
        by_ties = _ways_not_to_beat(rivals, num_silent, votes, k - votes)
        shared = float((by_ties / np.arange(1, len(by_ties) + 1)).sum())
        ways += math.comb(sizes[answer], votes) * shared
    return ways


def _ways_not_to_beat(
    rival_sizes: Sequence[int], num_silent: int, votes: int, num_others: int
) -> np.ndarray:
    """W(v, t): ways to choose others of whom no answer comes more than `votes` times.

    Returns:
      Float[tie]: by the number t of answers that come just as often.
    """
    # Answers that nobody gave so often can be chosen freely, like samples without one.
    num_free = num_silent + sum(size for size in rival_sizes if size < votes)
    ways = np.zeros((num_others // votes + 1, num_others + 1))  # [tie, chosen]
    ways[0] = [math.comb(num_free, number) for number in range(num_others + 1)]
    for size in sorted(size for size in rival_sizes if size >= votes):
        before, ways = ways, np.zeros_like(ways)
        for taken in range(min(votes, num_others) + 1):
            added = before[:, : num_others + 1 - taken] * float(math.comb(size, taken))
            if taken < votes:
                ways[:, taken:] += added
            else:
                ways[1:, taken:] += added[:-1]
    return ways[:, num_others]


@typed
def bootstrap_interval(
    values: Float[np.ndarray, " question"],
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval for the mean over questions.

        the (1 - confidence)/2 and (1 + confidence)/2 quantiles of
        1/n Σ_i x*_i,   x*_1 .. x*_n drawn from x_1 .. x_n with return

    It is the questions that are drawn, each with all of its samples: samples of one
    question are no independent evidence. Where all values are equal there is nothing to
    draw from, and the interval is that one point.

    Args:
      values: a score of each question, such as its share of right samples.
      confidence: coverage that is aimed at, in (0, 1).
      num_resamples: how often n questions are drawn, at least 1.
      seed: of the draws. What comes out does not depend on the questions' order.

    Returns:
      The lower and the upper end.

    Raises:
      TypeError: values is not an array of floats.
      ValueError: an argument is out of its range, or a value is not finite.

    Reference:
      Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7,
      1979.
    """
    check_values(values, "values")
    _check_confidence(confidence)
    if num_resamples < 1:
        raise ValueError(f"num_resamples: expected >= 1, got {num_resamples}")
    random = np.random.default_rng(seed)
    batches = batch_sizes(num_resamples)
    means = np.concatenate([resampled_means(random, values, n) for n in batches])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def resampled_means(
    random: np.random.Generator, values: np.ndarray, num_resamples: int
) -> np.ndarray:
    """Float[resample]: means of as many draws from the values as there are values."""
    distinct, counts = np.unique(values, return_counts=True)
    num_values = len(values)
    if FEWER_DISTINCT * len(distinct) < num_values:
        # How often each distinct value is drawn says all.
        drawn = random.multinomial(num_values, counts / num_values, num_resamples)
        return drawn @ distinct / num_values
    drawn = random.integers(num_values, size=(num_resamples, num_values))
    return np.sort(values)[drawn].mean(axis=1)


def check_values(values: np.ndarray, name: str) -> None:
    """See that there is a score of each question.

    Raises:
      ValueError: there is none, or one is not finite.
    """
    if not len(values):
        raise ValueError(f"{name}: expected at least one, got none")
    if not np.isfinite(values).all():
        place = int(np.isfinite(values).argmin())
        raise ValueError(
            f"{name}: expected finite numbers, got {values[place]} in place {place}"
        )


def batch_sizes(total: int) -> list[int]:
    """How many resamples are held at once, one batch after another."""
    whole, rest = divmod(total, RESAMPLES_AT_ONCE)
    return [RESAMPLES_AT_ONCE] * whole + [rest] * (rest > 0)


def _check_counts(num_right: int, total: int, total_name: str) -> None:
    if total < 1:
        raise ValueError(f"{total_name}: expected >= 1, got {total}")
    if not 0 <= num_right <= total:
        raise ValueError(
            f"num_right: expected in [0, {total_name}={total}], got {num_right}"
        )


def _check_k(k: int, num_samples: int) -> None:
    if not 1 <= k <= num_samples:
        raise ValueError(f"k: expected in [1, num_samples={num_samples}], got {k}")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected in (0, 1), got {confidence}")
