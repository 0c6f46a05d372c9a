"""How often the answer that is chosen out of k is right, from n >= k scored answers.

Nothing is drawn: each is the exact mean over all subsets of k of the n answers, nested
ones among them, which is unbiased for k fresh answers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from sophia_jax.types import Bool, Float, typed

__all__ = [
    "best_of_k_accuracy",
    "places_of",
    "reward_weighted_accuracy",
    "unscored_share",
]

STEP = 0.25  # of log u, where the trapezoidal rule has an error of 1e-17
BELOW, ABOVE = 38.0, 4.0  # log u S outside of which u S e^(-u S) is less than 1e-16


@typed
def best_of_k_accuracy(
    scores: Float[np.ndarray, " sample"],
    right: Bool[np.ndarray, " sample"],
    ks: Sequence[int],
) -> Float[np.ndarray, " k"]:
    """Probability that the best of k answers, drawn without return, is right.

        1/C(n, k) sum_g s_g [C(N_g, k) - C(N_g - n_g, k)]

    over the different scores g: n_g answers have score g, the share s_g of them is
    right, and N_g have at most this score or none. The best of k has score g where all
    k are among N_g and not all among N_g - n_g; equally good ones share evenly. This is
    the mean of `reward_weighted_probs` at T = 0 over all subsets.

    Args:
      scores: larger is better; nan is missing, and is never the best.
      right: whether each answer is.
      ks: each k, in [1, n].

    Returns:
      Probability for each k. Where none of k answers has a score, none is chosen, and
      that is not right; `unscored_share` says how often.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: there is no answer, or a k is out of its range.
    """
    _check(scores, ks)
    missing = np.isnan(scores)
    values, group, sizes = np.unique(
        scores[~missing], return_inverse=True, return_counts=True
    )
    rights = np.bincount(group, right[~missing], minlength=len(values))
    at_most = missing.sum() + np.cumsum(sizes)
    found = []
    for k in ks:
        within = _within(len(scores), k)
        chance = within[at_most] - within[at_most - sizes]
        found.append(float((rights / sizes * chance).sum()))
    return np.clip(np.array(found), 0.0, 1.0)


@typed
def reward_weighted_accuracy(
    scores: Float[np.ndarray, " sample"],
    right: Bool[np.ndarray, " sample"],
    ks: Sequence[int],
    *,
    temperature: float,
) -> Float[np.ndarray, " k"]:
    """Probability that an answer drawn by its reward, out of k, is right.

        E_S[ sum_{i in S} c_i w_i / sum_{i in S} w_i ],   w_i = e^(r_i / T)

    over all subsets S of k answers. With 1/W = int_0^inf e^(-u W) du it is

        int_0^inf E_S[ sum_{i in S} c_i w_i u  prod_{j in S} e^(-u w_j) ] d(log u)

    whose integrand is a mean over subsets of products, and so is built up answer by
    answer, for all k at once: of m + 1 answers, j are chosen with the last one among
    them in the share j / (m + 1) of all ways. The integral is exact to rounding.

    Args:
      scores: r, larger is better; nan is missing, and is never drawn.
      right: c, whether each answer is.
      ks: each k, in [1, n].
      temperature: T >= 0 in units of the scores; 0 is `best_of_k_accuracy`, and inf
        makes every answer with a score as likely.

    Returns:
      Probability for each k. Where none of k answers has a score, none is chosen, and
      that is not right.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: there is no answer, a score is infinite, or a number is out of its
        range.
    """
    _check(scores, ks)
    if not temperature >= 0:
        raise ValueError(f"temperature: expected >= 0, got {temperature}")
    if temperature == 0:
        return best_of_k_accuracy(scores, right, ks)
    scored = ~np.isnan(scores)
    if not scored.any():
        return np.zeros(len(ks))
    log_weights = (scores - np.nanmax(scores)) / temperature
    integrand = _integrand(log_weights, right, max(ks), places_of(log_weights, max(ks)))
    return np.clip(STEP * integrand.sum(axis=0)[list(ks)], 0.0, 1.0)


def unscored_share(num_missing: int, num_samples: int, k: int) -> float:
    """How often none of k answers, drawn without return, has a score.

        C(m, k) / C(n, k)

    Args:
      num_missing: m, answers without a score, in [0, n].
      num_samples: n.
      k: in [1, n].
    """
    return float(_within(num_samples, k)[num_missing])


@functools.lru_cache(maxsize=1024)
def _within(num_samples: int, k: int) -> np.ndarray:
    """Float[0..n]: C(N, k) / C(n, k), that k of n are all among certain N.

    As the exponential of a sum of logarithms, C(N, k) / C(N + 1, k) = 1 - k / (N + 1).
    """
    sizes = np.arange(num_samples, k, -1)  # N + 1, from n down to k + 1
    logs = np.cumsum(np.log1p(-k / sizes))
    share = np.zeros(num_samples + 1)
    share[num_samples] = 1.0
    share[sizes - 1] = np.exp(logs)
    share.flags.writeable = False
    return share


def places_of(log_weights: np.ndarray, most: float) -> np.ndarray:
    """Multiples of the step, as log u, at which the integrand is not negligible.

    The weights of a subset sum to something between the largest of them and k times as
    much. Its part of the integrand is where u is about the inverse, so that a narrow
    window for each weight is enough, however far apart these are.
    """
    peaks = -np.unique(log_weights[np.isfinite(log_weights)])
    low = np.floor((peaks - math.log(most) - BELOW) / STEP).astype(int)
    high = np.ceil((peaks + ABOVE) / STEP).astype(int)
    windows = [np.arange(*window) for window in zip(low, high + 1, strict=True)]
    return STEP * np.unique(np.concatenate(windows))


def _integrand(
    log_weights: np.ndarray, right: np.ndarray, most: int, log_u: np.ndarray
) -> np.ndarray:
    """Float[place k]: for k up to `most`, answer by answer; nan weights nothing."""
    plain = np.zeros((len(log_u), most + 1))  # E_S[prod e^(-u w)]
    plain[:, 0] = 1.0
    chosen = np.zeros_like(plain)  # with sum c w u before the product
    number = np.arange(1, most + 1)
    for index, (log_weight, is_right) in enumerate(
        zip(log_weights, right, strict=True)
    ):
        share = np.minimum(number / (index + 1), 1.0)
        load = np.zeros(len(log_u))
        if not np.isnan(log_weight):
            load = np.exp(np.minimum(log_u + log_weight, 700.0))  # u w
        factor = np.exp(-load)[:, None]
        added = factor * chosen[:, :-1]
        if is_right:
            added += (load[:, None] * factor) * plain[:, :-1]
        chosen[:, 1:] = (1 - share) * chosen[:, 1:] + share * added
        plain[:, 1:] = (1 - share) * plain[:, 1:] + share * factor * plain[:, :-1]
    return chosen


def _check(scores: np.ndarray, ks: Sequence[int]) -> None:
    if not len(scores):
        raise ValueError("scores: expected at least one answer, got none")
    if np.isinf(scores).any():
        raise ValueError("scores: expected finite numbers or nan, got an infinite one")
    for k in ks:
        if not 1 <= k <= len(scores):
            raise ValueError(f"k: expected in [1, num_samples={len(scores)}], got {k}")
