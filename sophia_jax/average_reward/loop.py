"""LOOP: local-fitted optimization with optimism, for general function approximation.

    B_t = { f in H : L_D(f, f) - inf_g L_D(f, g) <= beta }         `confidence_set`
    f_t = argmax_{f in B_t} J_f                                    `optimistic_choice`
    again when L_D(f_t, f_t) - inf_g L_D(f_t, g) >= 3 beta         `switching_is_due`

with L_D(f, g) = sum_i l_{f_i}(f, g, zeta_i)^2 over what was seen so far. All agents of
this family are these three functions about a loss that their class can compute.

This is the algorithm as we understand the paper (He, Zhong, Yang, 2024,
https://arxiv.org/abs/2404.12648), of which the abstract and the reviews could be read:
the factor 3 and the form of beta are recalled, not checked against its text.
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from sophia_jax.types import Array, Bool, Float, Int, Scalar, typed

__all__ = [
    "check_options",
    "confidence_radius",
    "confidence_set",
    "ellipsoid_radius",
    "optimistic_choice",
    "switching_is_due",
]

TRIGGER = 3.0  # how many times beta the in-sample error is when a policy is given up


def confidence_radius(
    num_steps: int,
    *,
    log_covering: float,
    span: float,
    delta: float = 0.05,
    scale: float = 1.0,
) -> float:
    """beta, the in-sample error at which a hypothesis is no longer believed.

        beta = scale (sp + 1)^2 (log(T / delta) + 2 log N)

    As we understand the paper, beta = c sp(V*) log(T N^2 / delta) for a constant c that
    is not known here. Squared errors are of size sp^2, so that is what stands in the
    place of c sp. With scale = 1 it is more than enough [derived]: for one hypothesis
    whose prediction differs by d_i from the truth's, with noise e_i in a range of sp,
    sum_i (2 e_i d_i - d_i^2) exceeds sp^2 / 2 log(N / delta) for any of N with chance
    at most delta, at any time.

    Args:
      num_steps: T.
      log_covering: log N, of hypotheses and auxiliary functions at resolution 1 / T.
      span: sp(V*), or a bound of it.
      delta: chance of failure, in (0, 1).
      scale: 1 for the theory; what is best in practice is smaller.

    Raises:
      ValueError: an argument outside of its range.
    """
    checks = (
        ("num_steps", num_steps, num_steps >= 1, ">= 1"),
        ("log_covering", log_covering, log_covering >= 0, ">= 0"),
        ("span", span, 0 <= span < math.inf, "finite and >= 0"),
        ("delta", delta, 0 < delta < 1, "in (0, 1)"),
        ("scale", scale, scale > 0, "> 0"),
    )
    for name, value, holds, rule in checks:
        if not holds:
            raise ValueError(f"{name}: expected {rule}, got {value}")
    return scale * (span + 1) ** 2 * (math.log(num_steps / delta) + 2 * log_covering)


def ellipsoid_radius(
    num_steps: int,
    *,
    dim: int,
    span: float,
    row_norm: float,
    weight_norm: float,
    ridge: float = 1.0,
    delta: float = 0.05,
    scale: float = 1.0,
) -> float:
    """beta of `loop_mixture` and `loop_tabular`, smaller than a covering's.

        sqrt(beta) = sp / 2 sqrt(2 log(1 / delta) + d log(1 + T L^2 / (d ridge)))
                     + sqrt(ridge) ||theta*||

    V_{f_i}(s_{i+1}) lies in a range of sp, so its noise is sp / 2-sub-Gaussian, and the
    self-normalized bound holds at all times at once; rows psi are known before their
    noise is [derived from that bound].

    Args:
      num_steps: T.
      dim: d, over all blocks.
      span: sp, at which values are clipped.
      row_norm: L, the most that ||psi|| can be.
      weight_norm: ||theta*||, or a bound of it.
      ridge: of the regression.
      delta: chance of failure, in (0, 1).
      scale: of beta; 1 for the theory.

    Raises:
      ValueError: an argument outside of its range.

    Reference:
      Abbasi-Yadkori, Pal, Szepesvari, Improved algorithms for linear stochastic
      bandits, NeurIPS 2011, theorem 2.
    """
    for name, value, least in (
        ("num_steps", num_steps, 1),
        ("dim", dim, 1),
        ("span", span, 0),
        ("row_norm", row_norm, 0),
        ("weight_norm", weight_norm, 0),
    ):
        if not least <= value < math.inf:
            raise ValueError(f"{name}: expected finite and >= {least}, got {value}")
    for name, value in (("ridge", ridge), ("scale", scale)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: expected finite and > 0, got {value}")
    if not 0 < delta < 1:
        raise ValueError(f"delta: expected in (0, 1), got {delta}")
    grown = dim * math.log1p(num_steps * row_norm**2 / (dim * ridge))
    root = span / 2 * math.sqrt(2 * math.log(1 / delta) + grown)
    return scale * (root + math.sqrt(ridge) * weight_norm) ** 2


def check_options(*, beta: float, trigger: float, span_bound: float = math.inf) -> None:
    """Refuse what no confidence set can have."""
    for name, value in (("beta", beta), ("span_bound", span_bound)):
        if not value > 0:
            raise ValueError(f"{name}: expected > 0, got {value}")
    if not trigger >= 1:
        rule = ">= 1: below it a policy is given up at once"
        raise ValueError(f"trigger: expected {rule}, got {trigger}")


@typed
def confidence_set(
    excess: Float[Array, " hypothesis"],
    admissible: Bool[Array, " hypothesis"],
    beta: Scalar,
) -> Bool[Array, " hypothesis"]:
    """B_t: the hypotheses that what was seen does not speak against.

    Args:
      excess: L_D(f, f) - inf_g L_D(f, g) of each, never negative where the class is
        among the auxiliary functions.
      admissible: whether sp(V_f) <= sp(V*), as each has to be.
      beta: the radius.

    Returns:
      Membership. It may be empty: then the truth is not admissible, or beta too small.
    """
    return admissible & (excess <= beta)


@typed
def optimistic_choice(
    gain: Float[Array, " hypothesis"],
    members: Bool[Array, " hypothesis"],
    excess: Float[Array, " hypothesis"],
) -> Int[Array, ""]:
    """f_t = argmax_{f in B_t} J_f; the first of several, and of no members the one
    with the least excess."""
    best = jnp.where(members, gain, -jnp.inf).argmax()
    return jnp.where(members.any(), best, excess.argmin()).astype(jnp.int32)


@typed
def switching_is_due(
    excess: Float[Array, ""], beta: Scalar, trigger: Scalar = TRIGGER
) -> Bool[Array, ""]:
    """Whether the hypothesis in force has failed clearly: Upsilon >= 3 beta.

    Between beta, which it had at most when it was chosen, and this lies 2 beta of fresh
    error; so few switches are made, and each costs of the order of the span.
    """
    return excess >= trigger * beta
