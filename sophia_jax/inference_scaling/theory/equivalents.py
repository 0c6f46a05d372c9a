"""Deterministic equivalents of Bayesian linear regression, for any spectrum."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.inference_scaling.theory.grids import (
    check_above,
    check_at_least,
    is_concrete,
)
from sophia_jax.types import Array, Float, Scalar, typed

__all__ = ["DeterministicEquivalent", "deterministic_equivalent", "gap_covariance"]

HALVINGS = 64  # of the interval in which R lies


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["R", "shrinkage", "s2", "q", "v"],
    meta_fields=[],
)
@dataclass(frozen=True)
class DeterministicEquivalent:
    """What regression on random data comes to, when there are many of them.

    Attributes:
      R: the renormalised ridge.
      shrinkage: Float[dim], B_R = R / (λ + R) in the eigenbasis: the share of the
        teacher that the mean answer lacks.
      s2: variance of an answer to an average question.
      q: variance, over questions, of Δ_T of the mean answer averaged over data.
      v: variance of Δ_T over questions and data: `q` and the part that varies with the
        data. It is what a simulation finds.
    """

    R: Array
    shrinkage: Array
    s2: Array
    q: Array
    v: Array


@typed
def deterministic_equivalent(
    covariance_eigenvalues: Float[Array, " dim"],
    teacher: Float[Array, " dim"],
    *,
    num_data: Scalar,
    noise_std: Scalar,
    prior_std: Scalar,
) -> DeterministicEquivalent:
    """Mean and spread of Bayesian regression's answers, for any covariance spectrum.

        R = dσ² / nγ² + R (1/n) Tr Σ (Σ + R)^-1,   B_R = R (Σ + R)^-1,   u = B_R w_T
        s² = σ² + (γ² / d) Tr B_R Σ,   q = u' Σ u / d
        v = (q + σ² γ_1) / (1 - γ_1),   γ_1 = (1/n) Tr Σ² (Σ + R)^-2

    Questions are φ = x / sqrt d with x ~ N(0, Σ), answers y = w_T φ + σ ε, the prior
    w ~ N(0, γ²). Averaged over teachers from the prior, v is s² - σ².

    Args:
      covariance_eigenvalues: λ >= 0 of Σ, not all 0.
      teacher: w_T in the eigenbasis of Σ.
      num_data: n > 0.
      noise_std: σ > 0, of an answer in the data, which the model knows.
      prior_std: γ > 0, of a weight under the prior.

    Returns:
      R, shrinkage, s2, q and v, in JAX's precision; they may be differentiated in
      everything. nan where a traced argument is out of range.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: a concrete argument is out of range.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905, eqs. 10-13; v
      derived.
    """
    check_above(0, num_data=num_data, noise_std=noise_std, prior_std=prior_std)
    check_at_least(0, covariance_eigenvalues=covariance_eigenvalues)
    known = is_concrete(covariance_eigenvalues)
    if known and not np.any(np.asarray(covariance_eigenvalues)):
        raise ValueError("covariance_eigenvalues: expected one that is positive")
    given = (covariance_eigenvalues, teacher, num_data, noise_std, prior_std)
    dtype = jnp.promote_types(jnp.result_type(float, *given), jnp.float32)
    with jax.enable_x64(True):
        wide = [jnp.asarray(each, jnp.float64) for each in given]
        found = _equivalent(*wide)
        return jax.tree.map(lambda each: each.astype(dtype), found)


@typed
def gap_covariance(
    covariance_eigenvalues: Float[Array, " dim"],
    teacher: Float[Array, " dim"],
    judge: Float[Array, " dim"],
    equivalent: DeterministicEquivalent,
) -> Float[Array, "2 2"]:
    """Covariance, over questions and data, of the two gaps Δ_T and Δ_R.

        E[Δ_a Δ_b] = (E ŵ - w_a)' Σ (E ŵ - w_b) / d + (v - q),   E ŵ = (1 - B_R) w_T

    What varies with the data is common to both gaps.

    Args:
      covariance_eigenvalues: λ of Σ.
      teacher: w_T in the eigenbasis of Σ.
      judge: w_R, likewise: the judge's favourite answer is w_R φ.
      equivalent: of `deterministic_equivalent`.

    Returns:
      The matrix of both gaps, the teacher's first.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
    """
    mean = (1 - equivalent.shrinkage) * teacher
    off = jnp.stack([mean - teacher, mean - judge])
    fixed = (off * jnp.asarray(covariance_eigenvalues)[None]) @ off.T / teacher.shape[0]
    return fixed + (equivalent.v - equivalent.q)


@jax.jit
def _equivalent(
    eigenvalues: Array,
    teacher: Array,
    num_data: Array,
    noise_std: Array,
    prior_std: Array,
) -> DeterministicEquivalent:
    dim = eigenvalues.shape[0]
    is_good = (num_data > 0) & (noise_std > 0) & (prior_std > 0)
    is_good &= jnp.all(eigenvalues >= 0)
    bare = dim * noise_std**2 / (num_data * prior_std**2)
    ridge = jnp.where(is_good, _ridge(eigenvalues, num_data, bare), jnp.nan)
    shrinkage = ridge / (eigenvalues + ridge)
    s2 = noise_std**2 + prior_std**2 * jnp.sum(shrinkage * eigenvalues) / dim
    q = jnp.sum(eigenvalues * (shrinkage * teacher) ** 2) / dim
    gamma_1 = jnp.sum((1 - shrinkage) ** 2) / num_data
    v = (q + noise_std**2 * gamma_1) / (1 - gamma_1)
    return DeterministicEquivalent(R=ridge, shrinkage=shrinkage, s2=s2, q=q, v=v)


def _ridge(eigenvalues: Array, num_data: Array, bare: Array) -> Array:
    """R: halved for, then two steps of Newton's, which carry the derivatives."""

    def excess(ridge: Array, eigenvalues: Array, num_data: Array, bare: Array) -> Array:
        kept = jnp.sum(ridge * eigenvalues / (eigenvalues + ridge)) / num_data
        return ridge - kept - bare

    fixed = jax.lax.stop_gradient((eigenvalues, num_data, bare))

    def halved(_: int, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        is_above = excess(middle, *fixed) > 0
        return jnp.where(is_above, low, middle), jnp.where(is_above, middle, high)

    top = fixed[2] + jnp.sum(fixed[0]) / fixed[1]
    _, ridge = jax.lax.fori_loop(0, HALVINGS, halved, (fixed[2], top))
    for _ in range(2):
        seen = jnp.sum((eigenvalues / (eigenvalues + ridge)) ** 2) / num_data
        ridge -= excess(ridge, eigenvalues, num_data, bare) / (1 - seen)
    return ridge
