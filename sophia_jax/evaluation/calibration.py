"""Whether a model is as often right as it is sure: expected calibration errors."""

from __future__ import annotations

import numpy as np

from sophia_jax.types import Bool, Float, Int, typed

__all__ = [
    "expected_calibration_error",
    "likelihood_calibration_error",
    "preference_calibration_error",
]


@typed
def expected_calibration_error(
    confidence: Float[np.ndarray, " sample"],
    right: Bool[np.ndarray, " sample"] | Float[np.ndarray, " sample"],
    *,
    num_bins: int = 10,
    least: float = 0.0,
) -> float:
    """Mean distance between confidence and accuracy, by bins of confidence.

        ECE = Σ_b n_b / n |mean_b(right) - mean_b(confidence)|

    over bins of equal width in [least, 1]; each holds its upper end, and the first one
    its lower end too.

    Args:
      confidence: probability of being right, in [least, 1].
      right: whether it was; 1/2 where it is undecided.
      num_bins: at least 1.
      least: the smallest confidence there can be, below 1: 1/2 for the likelier of two.

    Returns:
      The error, in [0, 1]; nan of no sample.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: an argument is out of its range, or not a number.

    Reference:
      Guo et al., On calibration of modern neural networks, ICML 2017, eq. (3).
    """
    if num_bins < 1:
        raise ValueError(f"num_bins: expected >= 1, got {num_bins}")
    if not 0 <= least < 1:
        raise ValueError(f"least: expected in [0, 1), got {least}")
    confidence, right = confidence.astype(np.float64), right.astype(np.float64)
    bounds = (("confidence", confidence, least), ("right", right, 0.0))
    for name, values, low in bounds:
        strange = values[~((values >= low) & (values <= 1))]
        if strange.size:
            raise ValueError(f"{name}: expected in [{low:g}, 1], got {strange[0]}")
    if not confidence.size:
        return float("nan")
    inner = least + (1 - least) * np.arange(1, num_bins) / num_bins
    bins = np.searchsorted(inner, confidence, side="left")
    gaps = np.bincount(bins, weights=right - confidence)
    return float(np.abs(gaps).sum() / confidence.size)


@typed
def preference_calibration_error(
    reward_margin: Float[np.ndarray, " pair"], *, num_bins: int = 10
) -> float:
    """Of the preferences that rewards predict: P(chosen beats rejected) = σ(margin).

    The prediction is the answer of larger reward, its confidence σ(|margin|), and it is
    right where that is the chosen one; an undecided pair is half right. What f-DPO fits
    is this probability.

    Args:
      reward_margin: reward of the chosen less that of the rejected answer.
      num_bins: of equal width in [1/2, 1].

    Returns:
      The expected calibration error, in [0, 1]; nan of no pair.

    Raises:
      TypeError: shape or dtype differs from the signature.
      ValueError: a margin is nan, or num_bins is not positive.
    """
    margin = reward_margin.astype(np.float64)
    right = (np.sign(margin) + 1) / 2
    with np.errstate(over="ignore"):  # exp(-inf margin) is 0
        confidence = 1 / (1 + np.exp(-np.abs(margin)))
    return expected_calibration_error(confidence, right, num_bins=num_bins, least=0.5)


@typed
def likelihood_calibration_error(
    chosen_log_prob: Float[np.ndarray, " pair"],
    chosen_length: Int[np.ndarray, " pair"],
    rejected_log_prob: Float[np.ndarray, " pair"],
    rejected_length: Int[np.ndarray, " pair"],
    *,
    num_bins: int = 10,
) -> float:
    """The f-DPO paper's own: of the policy's likelihood of a token of the chosen text.

        confidence = exp(log π(y_w | x) / L_w)
        right      = log π(y_w | x) / L_w > log π(y_l | x) / L_l

    It asks something else than `preference_calibration_error`: the likelihood of a
    token is compared with how often the chosen text is the likelier one per token.

    Args:
      chosen_log_prob, rejected_log_prob: sums over the tokens, in nats, at most 0.
      chosen_length, rejected_length: L, tokens, at least 1.
      num_bins: of equal width in [0, 1]; the paper's is 10.

    Returns:
      The expected calibration error, in [0, 1]; nan of no pair.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a log-probability, a length or num_bins is out of its range.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240, section 5, and its code.
    """
    for name, length in (("chosen", chosen_length), ("rejected", rejected_length)):
        if np.any(length < 1):
            raise ValueError(f"{name}_length: expected >= 1, got {length.min()}")
    chosen = chosen_log_prob.astype(np.float64) / chosen_length
    rejected = rejected_log_prob.astype(np.float64) / rejected_length
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        strange = value[~(value <= 0)]
        if strange.size:
            raise ValueError(f"{name}_log_prob: expected <= 0, got {strange[0]}")
    return expected_calibration_error(
        np.exp(chosen), chosen > rejected, num_bins=num_bins
    )
