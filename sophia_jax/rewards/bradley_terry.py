"""Preferences between answers, two at a time, as one score for each."""

from __future__ import annotations

import numpy as np

from sophia_jax.types import Float, typed

__all__ = ["bradley_terry_scores"]

MOST_STEPS = 100
TOLERANCE = 1e-10  # of the gradient, beside the number of comparisons


@typed
def bradley_terry_scores(
    wins: Float[np.ndarray, "answer answer"], *, prior: float = 1.0
) -> Float[np.ndarray, " answer"]:
    """The scores under which the preferences, and a draw for each, are likeliest.

        P(i beats j) = 1 / (1 + e^(θ_j - θ_i))
        θ = argmax  Σ_ij w_ij log P(i beats j)
                  + prior/2 Σ_i [log P(i beats 0) + log P(0 beats i)],   θ_0 = 0

    The second line says that each answer has drawn `prior` times with an average one.
    It keeps the score finite of one that has won or lost each time, and gives one that
    was never compared 0. By Newton's method, whose step is halved until it gains.

    Args:
      wins: w_ij, how often i was preferred to j, >= 0; a draw is half for each. The
        diagonal is not looked at.
      prior: draws with an average answer, > 0.

    Returns:
      θ in float64: log-odds of being preferred to an average answer.

    Raises:
      TypeError: shape or dtype differs from the signature.
      ValueError: a number of wins is negative or not finite, or prior is not positive.

    Reference:
      Bradley and Terry, Rank analysis of incomplete block designs, Biometrika 39, 1952;
      the draws are the prior of Caron and Doucet, 2012, https://arxiv.org/abs/1011.1761,
      section 2, but for its scale.
    """
    if not (prior > 0 and np.isfinite(prior)):
        raise ValueError(f"prior: expected > 0, got {prior}")
    wins = wins.astype(np.float64) * (1 - np.eye(len(wins)))
    strange = wins[~(wins >= 0) | np.isinf(wins)]
    if strange.size:
        raise ValueError(f"wins: expected finite and >= 0, got {strange[0]}")
    theta = np.zeros(len(wins))
    value = _log_posterior(theta, wins, prior)
    for _ in range(MOST_STEPS):
        gradient, hessian = _derivatives(theta, wins, prior)
        if np.abs(gradient).max(initial=0.0) <= TOLERANCE * (prior + wins.sum()):
            break
        step = np.linalg.solve(hessian, gradient)
        while (new := _log_posterior(theta + step, wins, prior)) < value:
            step = step / 2
            if np.abs(step).max() < np.finfo(float).eps:
                return theta  # as good as rounding allows
        theta, value = theta + step, new
    return theta


def _log_posterior(theta: np.ndarray, wins: np.ndarray, prior: float) -> float:
    lost = np.logaddexp(0, theta[None, :] - theta[:, None])  # -log P(i beats j)
    drawn = np.logaddexp(0, theta) + np.logaddexp(0, -theta)
    return float(-(wins * lost).sum() - prior / 2 * drawn.sum())


def _derivatives(
    theta: np.ndarray, wins: np.ndarray, prior: float
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient, and the negative of the second derivatives."""
    beats = _logistic(theta[:, None] - theta[None, :])
    average = _logistic(theta)
    met = wins + wins.T
    gradient = wins.sum(1) - (met * beats).sum(1) + prior * (0.5 - average)
    spread = met * beats * (1 - beats)
    own = spread.sum(1) + prior * average * (1 - average)
    return gradient, np.diag(own) - spread


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))
