"""The error of reward-weighted sampling as a double integral that keeps its digits.

The pick with probabilities in proportion to e^(r_i / T) is the one with the smallest of
k independent z_i = (y_i - y_R)² - T G_i, with G of Gumbel's distribution. In units of
the predictive spread, ε = (y - y_R) / s is N(ρ, 1), and with τ = T / s²

    F(z) = P(z_i < z) = E[1 - exp(-e^((z - ε²) / τ))]
    δ / s² = k ∫ E[(ε + κ)²; z_i = z] (1 - F(z))^(k-1) dz

Every term is positive, so that nothing cancels. A fixed rule fails: the inner integrand
is a step of width τ / 2 sqrt(z) where τ is small, and the outer one has all its weight
where k F is about 1. So both follow the integrand:

- outside, z = y² + τ log(y / sqrt τ), in which F is nearly a straight line from y = 0
  on, whether temperature or spread decides; y runs over where k F lies between 1e-11
  and 32, by bounds on F in closed form;
- inside, |ε| runs over where the exponent (z - ε²) / τ lies between 4, where the step
  is 1 to 23 digits, and -45, and not further than 8 spreads from the mean.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr

from sophia_jax.types import Array

__all__ = ["scaled_error"]

STEP_IS_WHOLE, STEP_IS_OVER = 4.0, 45.0  # exponents: exp(-e^4) and e^-45 are nothing
REACH = 8.0  # spreads from the mean beyond which there is no probability, 1e-15
LEAST, MOST = 1e-11, 27.0  # of k F: the share below, and e^-27 above, are left out
HALVINGS, NATS = 30, 80.0  # of the interval in which log y is searched for


def _rule(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    return (nodes + 1) / 2, weights / 2


BEFORE, BETWEEN, AFTER = _rule(28), _rule(10), _rule(52)
INNER, SHORT = _rule(28), _rule(10)


def scaled_error(rho: Array, kappa: Array, tau: Array, num_samples: Array) -> Array:
    """δ / s², at one point, in float64.

    Args:
      rho: ρ = Δ_R / s >= 0, of the judge.
      kappa: κ = (Δ_T - Δ_R) / s, how far the judge's favourite is off.
      tau: τ = T / s² >= 0, finite.
      num_samples: k >= 1, finite; need not be whole.
    """
    cold = tau == 0
    warm_tau = jnp.where(cold, 1.0, tau)
    low, high = jax.lax.stop_gradient(_range(rho, tau, num_samples))
    y, weight = _thresholds(low, high, jnp.sqrt(warm_tau))
    share, error_share = _shares(y, rho, kappa, warm_tau)
    share = jnp.where(cold, _within(y, rho), share)
    error_share = jnp.where(cold, _densities(y, rho, kappa)[1], error_share)
    log_left = jnp.log1p(-jnp.minimum(share, 1 - 1e-15))
    terms = error_share * jnp.exp((num_samples - 1) * log_left)
    return num_samples * jnp.sum(weight * terms)


def _thresholds(low: Array, high: Array, step: Array) -> tuple[Array, Array]:
    """Values of y and their weights: what changes near sqrt τ has nodes of its own."""
    first = jnp.clip(jnp.minimum(3 * step, high / 4), low, high)
    second = jnp.maximum(first, high / 8)
    log_ratio = jnp.log(second / first)
    between = first * jnp.exp(log_ratio * BETWEEN[0])
    nodes = (low + (first - low) * BEFORE[0], between)
    weights = ((first - low) * BEFORE[1], log_ratio * between * BETWEEN[1])
    last = second + (high - second) * AFTER[0], (high - second) * AFTER[1]
    return jnp.concatenate((*nodes, last[0])), jnp.concatenate((*weights, last[1]))


def _densities(x: Array, rho: Array, kappa: Array) -> tuple[Array, Array]:
    """Of |ε| at x: its density, and the density times the mean of (ε + κ)²."""
    near = jnp.exp(-((x - rho) ** 2) / 2) / np.sqrt(2 * np.pi)
    other = jnp.exp(-2 * x * rho)  # as likely is -x, compared with x
    return near * (1 + other), near * ((x + kappa) ** 2 + (x - kappa) ** 2 * other)


def _within(x: Array, rho: Array) -> Array:
    """P(|ε| < x), to the relative precision that k F needs where k is large."""
    near = jnp.minimum(x, 0.25)
    shape = (*x.shape, len(SHORT[0]))
    nodes = near[..., None] * jnp.broadcast_to(SHORT[0], shape)
    density, _ = _densities(nodes, rho, jnp.zeros_like(rho))
    inside = near * jnp.sum(density * jnp.broadcast_to(SHORT[1], nodes.shape), axis=-1)
    return jnp.where(x < 0.25, inside, ndtr(x - rho) - ndtr(-x - rho))


def _root(x: Array) -> Array:
    """sqrt(max(x, 0)), whose derivative is 0 where x <= 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)


def _log_threshold(y: Array, tau: Array) -> Array:
    """z / τ = y² / τ + log(y / sqrt τ)."""
    return y * y / tau + jnp.log(y) - jnp.log(tau) / 2


def _shares(y: Array, rho: Array, kappa: Array, tau: Array) -> tuple[Array, Array]:
    """F(z(y)), and E[(ε + κ)²; y], the density in y times the mean error there."""
    exponent = _log_threshold(y, tau)
    z = tau * exponent
    edge, inside = _root(z), _root(z - STEP_IS_WHOLE * tau)
    distance, weight = _panels(z, edge, inside, rho, tau)
    # (z - ε²) / τ with ε = edge + distance, formed without taking z from ε².
    steps = distance * (2 * edge[:, None] + distance) / tau
    rate = jnp.exp(jnp.minimum(exponent, 0)[:, None] - steps)
    chosen = _one_less_exp(rate)
    density, error_density = _densities(edge[:, None] + distance, rho, kappa)
    # Else the compiler works all of this out twice, once for each of the sums.
    terms = jax.lax.optimization_barrier(
        (density * chosen, error_density * rate * (1 - chosen))
    )
    inside_step, at_step = (jnp.sum(weight * term, axis=-1) for term in terms)
    return _within(inside, rho) + inside_step, at_step * (1 / y + 2 * y / tau)


def _one_less_exp(rate: Array) -> Array:
    """1 - e^-rate to 12 digits, in half the time of `expm1`."""
    series = rate * (1 - rate / 2 * (1 - rate / 3 * (1 - rate / 4 * (1 - rate / 5))))
    return jnp.where(rate < 0.01, series, 1 - jnp.exp(-rate))


def _panels(
    z: Array, edge: Array, inside: Array, rho: Array, tau: Array
) -> tuple[Array, Array]:
    """Distances of nodes from the edge, on both sides of it, and their weights."""
    short = jnp.minimum(STEP_IS_WHOLE * tau, jnp.maximum(z, 0))
    below = short / jnp.maximum(edge + inside, 1e-300)
    far = STEP_IS_OVER * tau
    above = far / (edge + jnp.sqrt(jnp.maximum(z, 0) + far))
    first, last = rho - REACH - edge, rho + REACH - edge
    distances, weights = [], []
    for start, stop in (
        (jnp.maximum(-below, first), jnp.minimum(0.0, last)),
        (jnp.maximum(0.0, first), jnp.minimum(above, last)),
    ):
        length = jnp.maximum(stop - start, 0)[:, None]
        distances.append(start[:, None] + length * INNER[0][None])
        weights.append(length * INNER[1][None])
    return jnp.concatenate(distances, -1), jnp.concatenate(weights, -1)


def _range(rho: Array, tau: Array, num_samples: Array) -> tuple[Array, Array]:
    """Where y matters: the last at which k F is nothing, the first at which it is much.

    With r = sqrt z, E[min(1, e^((z - ε²) / τ))] is F but for a factor in [1 - 1/e, 1].
    """
    top = jnp.log(rho + 8 + 2 * jnp.sqrt(tau))
    log_most = -MOST / num_samples

    def searched(is_beyond) -> Array:
        def halved(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = (low + high) / 2
            beyond = is_beyond(jnp.exp(middle))
            return jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)

        return jax.lax.fori_loop(0, HALVINGS, halved, (top - NATS, top))

    def is_much(y: Array) -> Array:
        bound, left = _bounds(y, rho, tau)
        return (num_samples * bound > MOST / 0.63) | (jnp.log(left) < log_most)

    low, _ = searched(lambda y: num_samples * _bounds(y, rho, tau)[0] > LEAST)
    _, high = searched(is_much)
    return jnp.exp(low), jnp.exp(high)


def _bounds(y: Array, rho: Array, tau: Array) -> tuple[Array, Array]:
    """F from above, within a factor of 1.6, and 1 - F from above, but for e^-27."""
    cold = tau == 0
    warm_tau = jnp.where(cold, 1.0, tau)
    exponent = _log_threshold(y, warm_tau)
    edge = jnp.where(cold, y, _root(warm_tau * exponent))
    narrow = warm_tau / (
        warm_tau + 2
    )  # ε with weights e^(-ε² / τ): N(ρ narrow, narrow)
    log_total = jnp.log(narrow) / 2 - rho**2 / (warm_tau + 2)
    side = jnp.sqrt(narrow)
    log_beyond = jnp.logaddexp(
        log_ndtr(rho * side - edge / side), log_ndtr(-rho * side - edge / side)
    )
    beyond = jnp.exp(jnp.minimum(exponent + log_total + log_beyond, 0.0))
    above = _within(edge, rho) + jnp.where(cold, 0.0, beyond)
    whole = jnp.where(cold, y, _root(warm_tau * (exponent - np.log(MOST))))
    return above, ndtr(rho - whole) + ndtr(-rho - whole)
