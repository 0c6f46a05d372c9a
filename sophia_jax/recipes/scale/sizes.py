"""Sizes of the experiment: the real one, and those of a quick look."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

__all__ = ["ScaleConfig", "quick_size"]


@dataclass(frozen=True)
class ScaleConfig:
    """A regression, its judges, and where the error is looked at.

    Attributes:
      dim: d, of a question.
      num_data: n, questions with answers that are learnt from.
      noise_std: σ, of an answer in the data.
      prior_std: γ, of a weight under the prior.
      exponent: a, of the spectrum λ_j = c j^-a of questions, whose mean is 1; unless
      eigenvalues: are given: λ, as many as `dim`.
      judge_errors: root mean square, over questions, of y_R - y_T.
      difficulties: root mean square of the teacher's weights, in units of γ.
      num_samples: each k, ascending.
      temperatures: each t = T / 2s², with the s² of theory.
      draws: data sets, each with questions of its own.
      questions: asked of each.
      draws_per_shard: a killed run loses at most so many.
      seed: of teacher, judges, data and answers.
    """

    dim: int = 60
    num_data: int = 300
    noise_std: float = 0.15
    prior_std: float = 0.5
    exponent: float = 0.0
    eigenvalues: tuple[float, ...] = ()
    judge_errors: tuple[float, ...] = (0.0, 0.05, 0.15, 0.3)
    difficulties: tuple[float, ...] = (1.0, 3.0, 6.0)
    num_samples: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    temperatures: tuple[float, ...] = (0.0, 0.1, 1.0, 10.0)
    draws: int = 500
    questions: int = 24
    draws_per_shard: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("dim", "num_data", "questions", "draws_per_shard"):
            _require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        _require(self.draws >= 2, "draws", ">= 2", self.draws)
        for name in ("noise_std", "prior_std"):
            value = getattr(self, name)
            _require(0 < value < math.inf, name, "> 0 and finite", value)
        _require(math.isfinite(self.exponent), "exponent", "finite", self.exponent)
        _check_list("judge_errors", self.judge_errors, 0, math.inf)
        _check_list("difficulties", self.difficulties, 1e-9, math.inf)
        _check_list("temperatures", self.temperatures, 0, math.inf)
        _check_list("num_samples", self.num_samples, 1, 1_000_000)
        if self.eigenvalues:
            rule = f"as many as dim={self.dim}"
            _require(
                len(self.eigenvalues) == self.dim,
                "eigenvalues",
                rule,
                len(self.eigenvalues),
            )
            fits = min(self.eigenvalues) >= 0 and 0 < sum(self.eigenvalues) < math.inf
            _require(fits, "eigenvalues", ">= 0, not all 0", self.eigenvalues)

    @property
    def spectrum(self) -> np.ndarray:
        """λ, Float[dim]."""
        if self.eigenvalues:
            return np.array(self.eigenvalues, float)
        powers = np.arange(1.0, self.dim + 1) ** -self.exponent
        return powers / powers.mean()


def _check_list(name: str, values: tuple, least: float, most: float) -> None:
    _require(bool(values), name, "at least one", "none")
    fits = all(least <= value <= most for value in values)
    _require(fits, name, f"each in [{least:g}, {most:g}]", values)
    rising = list(values) == sorted(set(values))
    _require(rising, name, "ascending numbers, each once", values)


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{name}: expected {rule}, got {value}")


def quick_size(config: ScaleConfig) -> ScaleConfig:
    """The same regression with few draws, and half of the numbers looked at."""
    return dataclasses.replace(
        config,
        draws=min(config.draws, 40),
        draws_per_shard=20,
        judge_errors=config.judge_errors[::2],
        difficulties=config.difficulties[:2],
        num_samples=tuple(k for k in config.num_samples[::2]),
        temperatures=config.temperatures[::2],
    )
