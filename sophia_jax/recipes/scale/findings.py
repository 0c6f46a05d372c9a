"""Where theory and simulation agree, and what the best choices are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sophia_jax.recipes.scale.sizes import ScaleConfig

__all__ = ["best_choices", "compared_points"]

NORMAL_95 = 1.959964


def compared_points(
    config: ScaleConfig,
    difficulty: float,
    simulated: np.ndarray,
    theory: Mapping[str, Sequence],
) -> list[dict]:
    """Simulation and theory at each judge, T and k, for one difficulty.

    Args:
      config: sizes.
      difficulty: of the teacher.
      simulated: Float[draw judge temperature k].
      theory: `theory` and `uncorrected`, each Float[judge temperature k].

    Returns:
      One record each, with the 95 % interval over draws, and whether theory lies
      outside of it: `above` or `below` the simulation, else `inside`.
    """
    mean = simulated.mean(0)
    half = NORMAL_95 * simulated.std(0, ddof=1) / np.sqrt(len(simulated))
    points = []
    for place in np.ndindex(mean.shape):
        judge, temperature, k = place
        predicted = float(np.asarray(theory["theory"])[place])
        low, high = float(mean[place] - half[place]), float(mean[place] + half[place])
        points.append(
            {
                "difficulty": difficulty,
                "judge_error": config.judge_errors[judge],
                "t": config.temperatures[temperature],
                "k": config.num_samples[k],
                "simulated": float(mean[place]),
                "interval": [low, high],
                "theory": predicted,
                "uncorrected": float(np.asarray(theory["uncorrected"])[place]),
                "verdict": _verdict(predicted, low, high),
            }
        )
    return points


def _verdict(predicted: float, low: float, high: float) -> str:
    if predicted > high:
        return "above"
    return "below" if predicted < low else "inside"


def best_choices(config: ScaleConfig, points: Sequence[Mapping]) -> list[dict]:
    """Of each difficulty and judge the best k at each t, and the best t of most k.

    Args:
      config: sizes.
      points: of `compared_points`.

    Returns:
      One record for each, with what theory and what simulation says.
    """
    found = []
    for difficulty in config.difficulties:
        for judge in config.judge_errors:
            rows = [
                p
                for p in points
                if p["difficulty"] == difficulty and p["judge_error"] == judge
            ]
            most = [p for p in rows if p["k"] == config.num_samples[-1]]
            record = {"difficulty": difficulty, "judge_error": judge, "best_k": []}
            for t in config.temperatures:
                at_t = [p for p in rows if p["t"] == t]
                best = {
                    name: _best(at_t, name)["k"] for name in ("theory", "simulated")
                }
                record["best_k"].append({"t": t, **best})
            record["best_t"] = {
                name: _best(most, name)["t"] for name in ("theory", "simulated")
            }
            found.append(record)
    return found


def _best(points: Sequence[Mapping], name: str) -> Mapping:
    return min(points, key=lambda point: point[name])
