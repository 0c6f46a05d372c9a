"""How far a policy has gone from its reference, told from its own samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import numpy as np

from sophia_jax.evaluation.metrics import bootstrap_interval, check_values
from sophia_jax.losses import Divergence
from sophia_jax.types import Array, Float, typed

__all__ = ["DivergenceEstimate", "estimate_divergence"]


@dataclass(frozen=True)
class DivergenceEstimate:
    """D_f(π || π_ref), and how sure it is.

    Attributes:
      value: of D_f, in nats for the KL divergences; never negative.
      standard_error: of the value, as far as the samples show it.
      interval: of the value, by `bootstrap_interval` over the samples.
      largest_share: of the sum over all samples, what the largest term alone is. Where
        it is not small, value and error bars rest on few samples, and are too low.
      num_samples: answers that it was told from.
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    largest_share: float
    num_samples: int


@typed
def estimate_divergence(
    log_ratio: Float[np.ndarray, " sample"],
    divergence: Divergence,
    *,
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> DivergenceEstimate:
    """The divergence of a policy from its reference, with error bars.

        D_f ≈ 1/n Σ_i p(ℓ_i),   p(ℓ) = (f(u) - f'(1) (u - 1)) / u,   u = e^ℓ
        s.e. = std p / √n

    No term is negative (`Divergence.penalty`), so noise makes no negative divergence.

    What the policy hardly ever says is hardly ever seen. Terms grow like e^-ℓ where it
    has given up answers of the reference, and those are the very answers that it does
    not give: most sets of samples hold none of them, and then value, standard error
    and interval are too low together; nothing in the samples says by how much. What is
    missed is the reference's share m of such answers times f(0) + f'(1): at most m for
    the reverse KL, m log 2 for Jensen-Shannon, m / (1 - α) for α, and without bound,
    -m ℓ, for the forward KL. A `largest_share` that is not small warns of the tail.

    Args:
      log_ratio: log π - log π_ref of whole answers that the policy gave at temperature
        1 over all its tokens, in nats; of several prompts as many of each.
      divergence: D_f.
      confidence: coverage that the interval aims at, in (0, 1).
      num_resamples: of the bootstrap.
      seed: of the bootstrap.

    Returns:
      The estimate; with a single sample its standard error is nan.

    Raises:
      TypeError: log_ratio is not an array of floats.
      ValueError: an option is out of its range; there is no sample, or a log-ratio is
        not finite.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240, the divergences of section 3;
      the control variate is that of Schulman, 2020,
      http://joschu.net/blog/kl-approx.html, for any f.
    """
    check_values(log_ratio, "log_ratio")
    terms = np.asarray(_penalty(divergence, log_ratio), np.float64)
    total, num_samples = float(terms.sum()), len(terms)
    spread = float(terms.std(ddof=1)) if num_samples > 1 else math.nan
    return DivergenceEstimate(
        value=total / num_samples,
        standard_error=spread / math.sqrt(num_samples),
        interval=bootstrap_interval(
            terms, confidence=confidence, num_resamples=num_resamples, seed=seed
        ),
        largest_share=float(terms.max()) / total if total > 0 else 0.0,
        num_samples=num_samples,
    )


@jax.jit
def _penalty(divergence: Divergence, log_ratio: Array) -> Array:
    return divergence.penalty(log_ratio)
