"""What theory says of the same experiment, averaged over questions and data."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from sophia_jax.inference_scaling.theory import (
    DeterministicEquivalent,
    deterministic_equivalent,
    expected_error,
    gap_covariance,
)
from sophia_jax.recipes.scale.regression import Task
from sophia_jax.recipes.scale.sizes import ScaleConfig

__all__ = ["equivalent_of", "predicted_errors"]

NUM_NODES = 12  # of either gap


def equivalent_of(config: ScaleConfig, task: Task) -> DeterministicEquivalent:
    """The deterministic equivalent of an experiment, in float64."""
    with jax.enable_x64(True):
        found = deterministic_equivalent(
            config.spectrum,
            task.teacher,
            num_data=config.num_data,
            noise_std=config.noise_std,
            prior_std=config.prior_std,
        )
        return jax.tree.map(np.asarray, found)


def predicted_errors(
    config: ScaleConfig, task: Task, *, corrected: bool = True
) -> np.ndarray:
    """The exact error at every k and T, averaged over Gaussian gaps.

        E[δ(k, T; Δ_T, Δ_R, s)],   (Δ_T, Δ_R) ~ N(0, C) as in `gap_covariance`

    Every question has the spread s of an average one, which is right for large d.

    Args:
      config: sizes.
      task: teacher and judges.
      corrected: whether the mean answer varies with the data (v), or is its mean (q).

    Returns:
      Float[judge temperature k].
    """
    found = equivalent_of(config, task)
    if not corrected:
        found = dataclasses.replace(found, v=found.q)
    variance = float(found.s2)
    predicted = []
    with jax.enable_x64(True):
        for judge in task.judges:
            covariance = np.asarray(
                gap_covariance(config.spectrum, task.teacher, judge, found)
            )
            gaps, shares = _gaussian_rule(covariance)
            errors = expected_error(
                teacher_gap=gaps[0][None, None],
                reward_gap=gaps[1][None, None],
                predictive_std=np.sqrt(variance),
                num_samples=np.array(config.num_samples, float)[None, :, None],
                temperature=2 * variance * np.array(config.temperatures)[:, None, None],
            )
            predicted.append(np.asarray(errors) @ shares)
    return np.array(predicted)


def _gaussian_rule(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of gaps, Float[2 node], and their weights: of N(0, C), in one half.

    The error is the same for gaps of the other sign. A judge who knows what is right
    has the teacher's gap, and one direction is enough.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    weights = weights / weights.sum()
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < 1e-12 * values[1]:
        gaps, shares = vectors[:, 1:] * np.sqrt(values[1]) * nodes, weights
    else:
        grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij")).reshape(2, -1)
        gaps = (vectors * np.sqrt(values)) @ grid
        shares = np.outer(weights, weights).ravel()
    half = len(shares) // 2
    return gaps[:, :half], 2 * shares[:half]
