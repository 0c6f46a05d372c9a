"""What the arms of all seeds come to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sophia_jax.evaluation.frontier import (
    NUM_PLACES,
    frontier,
    mean_with_interval,
    reward_at,
    reward_differences,
)
from sophia_jax.recipes.frontier.sizes import COMPARED, FrontierConfig

__all__ = ["all_points", "compare_methods", "coverage", "shares_of_optimum"]


def all_points(arms: Sequence[dict]) -> list[dict]:
    """One row for each policy that was measured, without what only checks need."""
    return [_row(arm, point) for arm in arms for point in arm["points"]]


def _row(arm: dict, point: dict) -> dict:
    exact, sampled = point["exact"], point["sampled"]
    estimates = sampled["divergences"]
    return {
        **{name: arm[name] for name in ("seed", "method", "divergence", "beta")},
        "step": point["step"],
        "reward": exact["reward"],
        "reward_sampled": sampled["reward"],
        "reward_interval": sampled["reward_interval"],
        "divergences": exact["divergences"],
        "divergences_sampled": {n: each["value"] for n, each in estimates.items()},
        "divergence_intervals": {n: each["interval"] for n, each in estimates.items()},
        "largest_shares": {n: each["largest_share"] for n, each in estimates.items()},
        "entropy": exact["entropy"],
        "mean_length": exact["mean_length"],
        **{
            name: sampled[name]
            for name in ("token_entropy", "distinct_2", "self_bleu", "cut_off")
        },
        "held_out": point["held_out"],
    }


def compare_methods(points: Sequence[dict], config: FrontierConfig) -> list[dict]:
    """Methods, two by two, under each divergence, over the seeds.

    Returns:
      Of each pair the reward of `first` less that of `second` at equal divergence: its
      mean over all divergences that both reach, with Student's interval over seeds, at
      parts of the largest of these, and the `verdict`.
    """
    found = []
    for divergence in config.divergences:
        methods = config.methods(divergence)
        for first, second in COMPARED:
            if not {first, second} <= set(methods):
                continue
            apart = [
                reward_differences(
                    _frontier(points, seed, first, divergence),
                    _frontier(points, seed, second, divergence),
                )
                for seed in config.seeds
            ]
            mean, interval = mean_with_interval([each["mean"] for each in apart])
            found.append(
                {
                    "divergence": divergence,
                    "first": first,
                    "second": second,
                    "difference": mean,
                    "interval": interval,
                    "verdict": _verdict(interval),
                    "by_seed": apart,
                }
            )
    return found


def _verdict(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "not decided"
    low, high = interval
    return "ahead" if low > 0 else "behind" if high < 0 else "not decided"


def shares_of_optimum(
    points: Sequence[dict], optimum: dict, config: FrontierConfig
) -> list[dict]:
    """How much of the best possible reward each method earns at equal divergence.

    Args:
      points: of `all_points`.
      optimum: by divergence and seed, of `optimum_curve`.
      config: of all sizes.

    Returns:
      Of each divergence and method the mean share, over all divergences that every
      method reaches, with Student's interval over seeds.
    """
    found = []
    for divergence in config.divergences:
        shares = [
            _shares(points, seed, divergence, optimum[divergence][str(seed)], config)
            for seed in config.seeds
        ]
        for method in config.methods(divergence):
            mean, interval = mean_with_interval([each[method] for each in shares])
            found.append(
                {
                    "divergence": divergence,
                    "method": method,
                    "share": mean,
                    "interval": interval,
                }
            )
    return found


def _shares(
    points: Sequence[dict],
    seed: int,
    divergence: str,
    curve: Sequence[dict],
    config: FrontierConfig,
) -> dict[str, float]:
    """Of one seed."""
    methods = config.methods(divergence)
    own = {each: _frontier(points, seed, each, divergence) for each in methods}
    largest = min(corners[-1, 0] for corners in own.values())
    places = np.linspace(0, largest, NUM_PLACES + 1)[1:]
    best = reward_at(curve_frontier(curve), places)
    if not largest > 0:  # one of them never left the reference for the better
        return dict.fromkeys(methods, 0.0)
    return {
        method: float(np.mean(reward_at(corners, places) / best))
        for method, corners in own.items()
    }


def curve_frontier(curve: Sequence[dict]) -> np.ndarray:
    """The frontier of the best policies."""
    return frontier(
        *(np.array([x[n] for x in curve]) for n in ("divergence", "reward"))
    )


def _frontier(
    points: Sequence[dict], seed: int, method: str, divergence: str
) -> np.ndarray:
    own = [
        each
        for each in points
        if (each["seed"], each["method"], each["divergence"])
        == (seed, method, divergence)
    ]
    return frontier(
        np.array([each["divergences"][divergence] for each in own]),
        np.array([each["reward"] for each in own]),
    )


def coverage(points: Sequence[dict], config: FrontierConfig) -> dict[str, dict]:
    """How often an interval from samples holds the divergence that was computed.

    Returns:
      Of each divergence the share of all points whose 95 % interval holds it, and the
      share of those whose interval is below it.
    """
    found = {}
    for name in config.divergences:
        inside = [
            each["divergence_intervals"][name][0]
            <= each["divergences"][name]
            <= each["divergence_intervals"][name][1]
            for each in points
        ]
        below = [
            each["divergence_intervals"][name][1] < each["divergences"][name]
            for each in points
        ]
        found[name] = {
            "inside": float(np.mean(inside)),
            "too_low": float(np.mean(below)),
            "num_points": len(points),
        }
    return found
