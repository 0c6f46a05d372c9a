"""Bayesian regression that answers questions, and judges who choose: by simulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sophia_jax.recipes.scale.sizes import ScaleConfig

__all__ = ["Task", "draw_task", "errors_of_draw"]


@dataclass(frozen=True)
class Task:
    """Who is right, and who judges, in the eigenbasis of the spectrum.

    Attributes:
      teacher: Float[dim], w_T.
      judges: Float[judge dim], w_R of each.
    """

    teacher: np.ndarray
    judges: np.ndarray


def draw_task(config: ScaleConfig, difficulty: float) -> Task:
    """A teacher of that difficulty; the directions are the same for all difficulties.

    Args:
      config: sizes.
      difficulty: root mean square of the teacher's weights, in units of the prior's.
    """
    rng = np.random.default_rng([config.seed, 0])
    teacher, wrong = rng.normal(size=(2, config.dim))
    teacher *= difficulty * config.prior_std / np.sqrt(np.mean(teacher**2))
    spectrum = config.spectrum
    if config.dim > 1:  # judges are wrong in what the teacher does not know of
        wrong -= teacher * (wrong @ (spectrum * teacher)) / (teacher**2 @ spectrum)
    wrong /= np.sqrt(np.mean(spectrum * wrong**2))
    errors = np.array(config.judge_errors)
    return Task(teacher, teacher + errors[:, None] * wrong)


def errors_of_draw(
    config: ScaleConfig, task: Task, temperatures: np.ndarray, draw: int
) -> np.ndarray:
    """The mean error over the questions of one data set.

    Questions, data and answers are the same for every judge, k and T, and k answers are
    the first of the same ones; the error of a choice is its mean over what is chosen.

    Args:
      config: sizes.
      task: teacher and judges.
      temperatures: T, in units of reward.
      draw: its number, from which all that is random follows.

    Returns:
      Float[judge temperature k].
    """
    rng = np.random.default_rng([config.seed, 1, draw])
    scale = np.sqrt(config.spectrum / config.dim)
    data = rng.normal(size=(config.num_data, config.dim)) * scale
    noise = config.noise_std * rng.normal(size=config.num_data)
    asked = rng.normal(size=(config.questions, config.dim)) * scale
    precision = np.eye(config.dim) / config.prior_std**2
    precision += data.T @ data / config.noise_std**2
    learnt = data.T @ (data @ task.teacher + noise) / config.noise_std**2
    mean = asked @ np.linalg.solve(precision, learnt)
    uncertain = np.sum(asked * np.linalg.solve(precision, asked.T).T, axis=1)
    spread = np.sqrt(config.noise_std**2 + uncertain)
    fresh = rng.normal(size=(config.questions, max(config.num_samples)))
    answers = mean[:, None] + spread[:, None] * fresh
    errors = (answers - (asked @ task.teacher)[:, None]) ** 2
    return np.array(
        [
            _chosen(answers, (asked @ judge)[:, None], errors, temperatures, config)
            for judge in task.judges
        ]
    )


def _chosen(
    answers: np.ndarray,
    favourite: np.ndarray,
    errors: np.ndarray,
    temperatures: np.ndarray,
    config: ScaleConfig,
) -> np.ndarray:
    """Mean error under one judge, Float[temperature k]."""
    distance = (answers - favourite) ** 2
    found = np.empty((len(temperatures), len(config.num_samples)))
    for place, k in enumerate(config.num_samples):
        behind = distance[:, :k] - distance[:, :k].min(axis=1, keepdims=True)
        for row, temperature in enumerate(temperatures):
            if temperature == 0:
                weights = (behind == 0).astype(float)
            else:
                weights = np.exp(-behind / temperature)
            chosen = np.sum(weights * errors[:, :k], axis=1) / weights.sum(axis=1)
            found[row, place] = chosen.mean()
    return found
