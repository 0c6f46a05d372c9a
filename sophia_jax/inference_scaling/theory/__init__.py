"""A solvable model of inference with a judge, and what it says of k, T, judge and data.

Answers to a question are y ~ N(m, s²), as of Bayesian regression; y_T is the right one
and y_R the judge's favourite; one of k answers is taken with probability in proportion
to e^(-(y - y_R)² / T). Gaps are Δ_T = m - y_T and Δ_R = m - y_R, and t = T / 2s².

Reference:
  Halder and Pehlevan, 2025, "Demystifying LLM-as-a-Judge: Analytically Tractable Model
  for Inference-Time Scaling", https://arxiv.org/abs/2512.19905.
"""

from sophia_jax.inference_scaling.theory.equivalents import (
    DeterministicEquivalent,
    deterministic_equivalent,
    gap_covariance,
)
from sophia_jax.inference_scaling.theory.errors import (
    expected_error,
    infinite_samples_error,
)
from sophia_jax.inference_scaling.theory.expansions import (
    best_of_k_coefficient,
    high_temperature_series,
    mean_best_of_k_coefficient,
)
from sophia_jax.inference_scaling.theory.optima import (
    best_reward_gap,
    optimal_num_samples,
    optimal_temperature,
)
from sophia_jax.inference_scaling.theory.series_optima import (
    series_optimal_num_samples,
    series_optimal_temperature,
)
from sophia_jax.inference_scaling.theory.slopes import data_slope, samples_slope

__all__ = [
    "DeterministicEquivalent",
    "best_of_k_coefficient",
    "best_reward_gap",
    "data_slope",
    "deterministic_equivalent",
    "expected_error",
    "gap_covariance",
    "high_temperature_series",
    "infinite_samples_error",
    "mean_best_of_k_coefficient",
    "optimal_num_samples",
    "optimal_temperature",
    "samples_slope",
    "series_optimal_num_samples",
    "series_optimal_temperature",
]
