"""What can be said from a number of right answers."""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["pass_at_k", "wilson_interval"]


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
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected in (0, 1), got {confidence}")
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
    if not 1 <= k <= num_samples:
        raise ValueError(f"k: expected in [1, num_samples={num_samples}], got {k}")
    num_wrong = num_samples - num_right
    if num_wrong < k:
        return 1.0
    factors = range(num_wrong + 1, num_samples + 1)
    return -math.expm1(math.fsum(math.log1p(-k / i) for i in factors))


def _check_counts(num_right: int, total: int, total_name: str) -> None:
    if total < 1:
        raise ValueError(f"{total_name}: expected >= 1, got {total}")
    if not 0 <= num_right <= total:
        raise ValueError(
            f"num_right: expected in [0, {total_name}={total}], got {num_right}"
        )
