"""Corrections for samples of another policy, and prices for leaving a reference.

Each is a function of its own; an objective puts together what it needs. The paper sets
the ratio π_θ/μ to 1 (its lemma A.3): that is `sophia_loss`, or weights of 1 here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sophia_jax.losses.divergences import Divergence
from sophia_jax.losses.log_space import bounded_exp, in_float32
from sophia_jax.types import Array, Bool, Float, Scalar, typed

__all__ = [
    "advantage_weights",
    "divergence_loss",
    "geometric_mean_weights",
    "penalized_rewards",
    "sequence_log_ratio",
    "sequence_weights",
    "token_weights",
    "weighted_sophia_loss",
]


@typed
def sequence_log_ratio(
    policy_log_probs: Float[Array, "batch token"],
    other_log_probs: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
) -> Float[Array, " batch"]:
    """How much more likely a whole answer is under the policy.

        ℓ = Σ_l (log π_θ(y_l | y_<l) - log μ(y_l | y_<l))

    Args:
      policy_log_probs: log π_θ of each token, in nats.
      other_log_probs: log μ, of the behaviour or of a reference; a constant.
      mask: True at the tokens of the answer. What lies under False is never read.

    Returns:
      Log-ratio per sequence, in nats, float32 or better; 0 where the mask is empty.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, the ratio of eq. (3).
    """
    return jnp.sum(_token_log_ratio(policy_log_probs, other_log_probs, mask), axis=1)


@typed
def sequence_weights(
    policy_log_probs: Float[Array, "batch token"],
    behavior_log_probs: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    largest: Scalar,
) -> Float[Array, "batch token"]:
    """Truncated importance weight of the whole answer, at each of its tokens.

        w_l = min(Π_k π_θ(y_k) / μ(y_k), c)

    Unbiased for c = inf, and then of a variance that grows with e^length: the longer
    the answers, the fewer of them decide everything.

    Args:
      policy_log_probs: log π_θ of each token, in nats.
      behavior_log_probs: log μ, when the token was sampled.
      mask: True at the tokens of the answer.
      largest: c > 0.

    Returns:
      Constant weights (no gradient flows through them); 0 where the mask is False.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete `largest` is not positive.

    Reference:
      Ionides, 2008, "Truncated Importance Sampling"; SOPHIA, 2025,
      https://arxiv.org/abs/2507.16814, eq. (3).
    """
    ratio = sequence_log_ratio(policy_log_probs, behavior_log_probs, mask)
    return _truncated(ratio[:, None], mask, largest)


@typed
def geometric_mean_weights(
    policy_log_probs: Float[Array, "batch token"],
    behavior_log_probs: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    largest: Scalar,
) -> Float[Array, "batch token"]:
    """Truncated geometric mean of an answer's token ratios, at each of its tokens.

        w_l = min((Π_k π_θ(y_k) / μ(y_k))^(1/|y|), c)

    Biased, but of a size that does not depend on the answer's length.

    Args, returns and raises: as of `sequence_weights`.

    Reference:
      Zheng et al., 2025, "Group Sequence Policy Optimization",
      https://arxiv.org/abs/2507.18071.
    """
    ratio = sequence_log_ratio(policy_log_probs, behavior_log_probs, mask)
    ratio = ratio / jnp.maximum(jnp.sum(mask, axis=1), 1)
    return _truncated(ratio[:, None], mask, largest)


@typed
def token_weights(
    policy_log_probs: Float[Array, "batch token"],
    behavior_log_probs: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    *,
    largest: Scalar,
) -> Float[Array, "batch token"]:
    """Truncated importance weight of each token alone.

        w_l = min(π_θ(y_l) / μ(y_l), c)

    Biased: that the tokens before came from μ is not corrected for.

    Args, returns and raises: as of `sequence_weights`.

    Reference:
      Espeholt et al., 2018, "IMPALA", https://arxiv.org/abs/1802.01561.
    """
    ratio = _token_log_ratio(policy_log_probs, behavior_log_probs, mask)
    return _truncated(ratio, mask, largest)


@typed
def weighted_sophia_loss(
    policy_log_probs: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    reward: Float[Array, " batch"],
    weights: Float[Array, "batch token"],
) -> Float[Array, " batch"]:
    """The SOPHIA policy gradient with importance weights in place of 1.

        L = -R(x, v, y) Σ_l w_l log π_θ(y_l | y_<l, x, v)

    A negative reward drives a likelihood to 0 without end, unless its weights vanish
    with it: those of this module do, a constant weight does not.

    Args:
      policy_log_probs: log π_θ of each token, in nats.
      mask: True at the tokens of the answer. What lies under False is never read.
      reward: R of each sequence; a constant.
      weights: w_l; constants.

    Returns:
      Loss per sequence, in nats; 0 where the mask is empty. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, the gradient of eq. (3).
    """
    policy, weights = in_float32(policy_log_probs, jax.lax.stop_gradient(weights))
    surprise = jnp.sum(
        jnp.where(mask, -weights * jnp.where(mask, policy, 0), 0), axis=1
    )
    return jax.lax.stop_gradient(reward) * surprise


@typed
def advantage_weights(
    advantages: Float[Array, "*any"], *, temperature: Scalar, largest: Scalar
) -> Float[Array, "*any"]:
    """Weights of advantage-weighted regression, to stand for the reward.

        w = min(e^(A / τ), c)

    Args:
      advantages: A, of each answer.
      temperature: τ > 0; the smaller, the more the best answers count.
      largest: c > 0.

    Returns:
      Positive weights.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete option is not positive.

    Reference:
      Peng et al., 2019, "Advantage-Weighted Regression",
      https://arxiv.org/abs/1910.00177.
    """
    _check_positive("temperature", temperature)
    (advantages,) = in_float32(advantages)
    return _truncated(advantages / temperature, True, largest)


@typed
def penalized_rewards(
    rewards: Float[Array, " batch"],
    log_ratio: Float[Array, " batch"],
    divergence: Divergence,
    *,
    beta: Scalar,
) -> Float[Array, " batch"]:
    """Rewards less the price of leaving the reference, for any policy gradient.

        r - β f'(u),   since   ∇ E_ref[f(u)] = E_π[f'(u) ∇ log π_θ]

    Taking f(u) / u in its place, whose mean is the divergence, is right for the reverse
    KL alone, where both differ by a constant.

    Args:
      rewards: r of each answer that π_θ gave.
      log_ratio: log π_θ - log π_ref of the answer, in nats.
      divergence: D_f(π_θ || π_ref).
      beta: β >= 0.

    Returns:
      Constant rewards (no gradient flows through them).

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete beta is negative.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240, the problem of section 3.
    """
    if not isinstance(beta, jax.core.Tracer) and not beta >= 0:
        raise ValueError(f"beta: expected >= 0, got {beta}")
    rewards, log_ratio = in_float32(rewards, log_ratio)
    return jax.lax.stop_gradient(rewards - beta * divergence.derivative(log_ratio))


@typed
def divergence_loss(
    policy_log_probs: Float[Array, "batch token"],
    reference_log_probs: Float[Array, "batch token"],
    mask: Bool[Array, "batch token"],
    divergence: Divergence,
) -> Float[Array, " batch"]:
    """A loss whose mean gradient over answers of π_θ is that of D_f(π_θ || π_ref).

        L = (f'(u) - f'(1)) Σ_l log π_θ(y_l),   u = π_θ(y) / π_ref(y) a constant

    Args:
      policy_log_probs: log π_θ of each token, in nats.
      reference_log_probs: log π_ref; a constant.
      mask: True at the tokens of the answer. What lies under False is never read.
      divergence: whose price is paid.

    Returns:
      Loss per sequence; 0 where the mask is empty. The caller averages. Its value means
      nothing: `Divergence.penalty` estimates the divergence itself.

    Raises:
      TypeError: shapes or dtypes differ from the signature.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240, the problem of section 3.
    """
    ratio = sequence_log_ratio(policy_log_probs, reference_log_probs, mask)
    price = divergence.scaled_difference(ratio, jnp.zeros_like(ratio), 1.0)
    (policy,) = in_float32(policy_log_probs)
    likelihood = jnp.sum(jnp.where(mask, policy, 0), axis=1)
    return jax.lax.stop_gradient(price) * likelihood


def _token_log_ratio(policy: Array, other: Array, mask: Array) -> Array:
    policy, other = in_float32(policy, jax.lax.stop_gradient(other))
    return jnp.where(mask, policy, 0) - jnp.where(mask, other, 0)


def _truncated(log_weights: Array, mask: Array | bool, largest: Scalar) -> Array:
    _check_positive("largest", largest)
    weights = jnp.minimum(bounded_exp(log_weights), largest)
    return jax.lax.stop_gradient(jnp.where(mask, weights, 0))


def _check_positive(name: str, value: Scalar) -> None:
    if not isinstance(value, jax.core.Tracer) and not value > 0:
        raise ValueError(f"{name}: expected > 0, got {value}")
