"""Seconds for exact errors of reward-weighted sampling, at points of a wide grid.

    python scripts/bench_judge_theory.py

The number of answers is drawn from 1 to 10^4 and T / 2s² from 10^-3 to 10^3, evenly in
their logarithms. 100,000 of them are to take less than 10 s on 2 cores.
"""

from __future__ import annotations

import os
import time

import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

import numpy as np  # noqa: E402

from sophia_jax.inference_scaling.theory import expected_error  # noqa: E402
from sophia_jax.recipes.machine import machine, versions  # noqa: E402


def main(points: int = 100_000) -> None:
    """Time `expected_error`, once with compilation and once without.

    Args:
      points: errors in one call.
    """
    rng = np.random.default_rng(0)
    arguments = {
        "teacher_gap": 0.5 * rng.normal(size=points),
        "reward_gap": rng.normal(size=points),
        "predictive_std": np.ones(points),
        "num_samples": 10 ** rng.uniform(0, 4, points),
        "temperature": 2 * 10 ** rng.uniform(-3, 3, points),
    }
    print(f"jax {versions()['jax']}, {machine()['cores']} cores")
    for what in ("with compilation", "compiled before"):
        start = time.perf_counter()
        expected_error(**arguments).block_until_ready()
        print(f"{points:,} errors, {what}: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    tyro.cli(main)
