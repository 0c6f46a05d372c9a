"""f-DPO: preferences learnt under any divergence that rewards can be told from."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.losses.divergences import (
    Divergence,
    Family,
    scaled_difference,
    slopes,
    with_parameters,
)
from sophia_jax.losses.log_space import in_float32
from sophia_jax.types import Array, Float, Scalar, typed

__all__ = ["f_dpo_loss", "f_dpo_reward", "optimal_policy"]

HALVINGS = 64  # of the interval in which the largest log-ratio lies


@typed
def f_dpo_loss(
    chosen_log_ratio: Float[Array, " batch"],
    rejected_log_ratio: Float[Array, " batch"],
    divergence: Divergence,
    *,
    beta: Scalar = 0.1,
) -> Float[Array, " batch"]:
    """Negative log-likelihood of the preferences, under the rewards that π is best for.

        L = -log σ(β f'(u_w) - β f'(u_l)),   u = π_θ(y | x) / π_ref(y | x)

    Loss and gradients are exact, to 1e-4 of their size, as far as float32 holds them.
    A loss beyond that (a chosen answer that became e^-89 times as likely, under the
    forward KL) still rises with the distance, by less than 2^-10 of itself in all; a
    gradient beyond that is held at the largest one, with its sign.

    Args:
      chosen_log_ratio: log π_θ - log π_ref of the preferred answer, summed over its
        tokens, in nats.
      rejected_log_ratio: likewise, of the other one.
      divergence: D_f(π || π_ref), the price of leaving the reference.
      beta: β > 0, of that price. A traced value that is not positive gives nan.

    Returns:
      Loss of each pair, in nats; float32 or better. The caller averages.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete beta is not positive.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240.
    """
    _check_positive(beta)
    chosen, rejected, scale = in_float32(chosen_log_ratio, rejected_log_ratio, beta)
    return _loss(divergence.family, divergence.parameters, chosen, rejected, scale)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _loss(
    family: Family, parameters: tuple, chosen: Array, rejected: Array, beta: Array
) -> Array:
    return -jax.nn.log_sigmoid(
        scaled_difference(family, parameters, chosen, rejected, beta)
    )


@_loss.defjvp
def _loss_jvp(family: Family, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """With the weight σ(-d) inside the exponentials: it is tiny where they are huge."""
    parameters, chosen, rejected, beta = primals
    d_parameters, d_chosen, d_rejected, d_beta = tangents
    difference = scaled_difference(family, *primals)
    log_weight = jax.nn.log_sigmoid(-difference)
    into_chosen, into_rejected = slopes(
        family, parameters, chosen, rejected, beta, log_weight
    )
    grown = jnp.exp(log_weight) * difference  # d loss / d log β, but for the sign
    tangent = -(
        into_chosen * d_chosen
        + into_rejected * d_rejected
        + grown / beta * d_beta
        + grown * with_parameters(family, parameters, chosen, rejected, d_parameters)
    )
    return -jax.nn.log_sigmoid(difference), tangent


@typed
def f_dpo_reward(
    log_ratio: Float[Array, " batch"],
    divergence: Divergence,
    *,
    beta: Scalar = 0.1,
) -> Float[Array, " batch"]:
    """The reward that π is best for, up to a constant of the prompt.

        r = β f'(u),   u = π_θ(y | x) / π_ref(y | x)

    It is exact as far as float32 holds it; beyond, it still falls with the log-ratio.
    Differences lose digits where it is large: `Divergence.scaled_difference` does not.

    Args:
      log_ratio: log π_θ - log π_ref of an answer, in nats.
      divergence: D_f(π || π_ref), the price of leaving the reference.
      beta: β > 0, of that price. A traced value that is not positive gives nan.

    Returns:
      Reward of each answer, with the constants of the paper's table: for the reverse KL
      β (log u + 1), for the forward KL -β / u, and so on.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete beta is not positive.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240, theorem 1 and table 1.
    """
    _check_positive(beta)
    ratio, scale = in_float32(log_ratio, beta)
    scale = jnp.where(scale > 0, scale, jnp.nan)
    value, at_one = (divergence.derivative(x) for x in (ratio, jnp.zeros_like(ratio)))
    # A derivative that no float holds may have a product with beta that one does.
    apart = divergence.scaled_difference(ratio, jnp.zeros_like(ratio), scale)
    return jnp.where(jnp.abs(value) < 1e30, scale * value, apart + scale * at_one)


@typed
def optimal_policy(
    reference_probs: Float[Array, " action"],
    rewards: Float[Array, " action"],
    divergence: Divergence,
    *,
    beta: Scalar,
) -> Float[Array, " action"]:
    """The best of policies over finitely many answers, at a divergence's price.

        max_π E_π[r] - β D_f(π || π_ref),   so   r(y) - β f'(u(y)) is the same for all y

    The best answer's log-ratio lies in [0, -log π_ref]; it is found by halving, as each
    other one follows from it, and probabilities must sum to 1.

    Args:
      reference_probs: π_ref(y), summing to 1. What has probability 0 keeps it.
      rewards: r(y).
      divergence: D_f(π || π_ref).
      beta: β > 0. A traced value that is not positive gives nan.

    Returns:
      π(y), summing to 1.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: concrete probabilities are no distribution, a concrete reward is not
        finite, or a concrete beta is not positive.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240, theorem 1.
    """
    _check_positive(beta)
    _check_distribution(reference_probs)
    _check_finite(rewards)
    probs, rewards, scale = in_float32(reference_probs, rewards, beta)
    return _optimum(divergence, probs, rewards, scale)


@jax.jit
def _optimum(
    divergence: Divergence, probs: Array, rewards: Array, beta: Array
) -> Array:
    known = probs > 0
    best = jnp.argmax(jnp.where(known, rewards, -jnp.inf))
    worse = (rewards[best] - rewards) / jnp.where(beta > 0, beta, jnp.nan)
    drop = jnp.where(known, worse, 0)

    def policy(highest: Array) -> Array:
        ratio = divergence.lowered(jnp.full_like(drop, highest), drop)
        return jnp.where(known, probs * jnp.exp(ratio), 0)

    def halved(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        enough = jnp.sum(policy(middle)) >= 1
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    bracket = jnp.zeros_like(beta), -jnp.log(probs[best])
    _, highest = jax.lax.fori_loop(0, HALVINGS, halved, bracket)
    found = policy(highest)
    return found / jnp.sum(found)


def _check_positive(beta: Scalar) -> None:
    if not isinstance(beta, jax.core.Tracer) and not beta > 0:
        raise ValueError(f"beta: expected > 0, got {beta}")


def _check_distribution(probs: Array) -> None:
    if isinstance(probs, jax.core.Tracer):
        return
    values = np.asarray(probs, np.float64)
    if not (np.all(values >= 0) and abs(values.sum() - 1) < 1e-3):
        raise ValueError(
            f"reference_probs: expected probabilities that sum to 1, got {values}"
        )


def _check_finite(rewards: Array) -> None:
    if not isinstance(rewards, jax.core.Tracer) and not np.isfinite(rewards).all():
        raise ValueError(f"rewards: expected finite numbers, got {np.asarray(rewards)}")
