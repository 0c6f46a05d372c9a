"""Reward against divergence: f-DPO, PPO and GRPO under each f, and what is best."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sophia_jax.preemption import stop_if_preempted
from sophia_jax.recipes.frontier.arms import Arm, all_arms, run_arm
from sophia_jax.recipes.frontier.exact import optimum_curve
from sophia_jax.recipes.frontier.findings import (
    all_points,
    compare_methods,
    coverage,
    shares_of_optimum,
)
from sophia_jax.recipes.frontier.laboratory import Laboratory, make_laboratory
from sophia_jax.recipes.frontier.learnt_rewards import (
    pair_accuracy,
    reward_correlation,
)
from sophia_jax.recipes.frontier.sizes import DIVERGENCES, FrontierConfig
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.run_folder import read_seconds, stopwatch, write_json
from sophia_jax.recipes.side_by_side import side_by_side
from sophia_jax.types import Track, untracked

__all__ = ["run_frontier"]

PRICES = np.geomspace(0.03, 10, 16)  # of the optimum's curve
AT_ONCE = 2  # arms: each leaves half of a small machine idle


def run_frontier(
    folder: Path,
    config: FrontierConfig,
    *,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Run every arm of every seed that `folder` does not hold yet.

    Args:
      folder: of the run; an arm that left its result there is not run again.
      config: all sizes.
      track: shows the arms.
      say: prints a line for each seed.

    Returns:
      What is written to `summary.json`.

    Raises:
      Preempted: it was told to stop; arms that were done are kept.
    """
    optimum: dict = {name: {} for name in config.divergences}
    reward_models, arms = {}, []
    for seed in config.seeds:
        of_seed = folder / f"seed-{seed}"
        curves, told = of_seed / "optimum.json", of_seed / "reward_model.json"
        missing = [a for a in all_arms(config) if not _path(of_seed, a).exists()]
        if missing or not curves.exists() or not told.exists():
            with stopwatch(folder, "references"):
                laboratory = make_laboratory(config, seed, of_seed)
                write_json(curves, _optimum(laboratory, config))
                write_json(told, _reward_model(laboratory, config))
            with stopwatch(folder, "arms"):
                _run_arms(laboratory, missing, config, of_seed, track)
        for name, curve in json.loads(curves.read_text()).items():
            optimum[name][str(seed)] = curve
        reward_models[str(seed)] = json.loads(told.read_text())
        done = [json.loads(_path(of_seed, a).read_text()) for a in all_arms(config)]
        say(f"seed {seed}     {len(done)} arms, {len(missing)} of them run now")
        arms += done
    summary = {
        **_summary(folder, arms, optimum, config),
        "reward_models": reward_models,
        "optimum": optimum,
    }
    write_json(folder / "summary.json", summary)
    return summary


def _path(folder: Path, arm: Arm) -> Path:
    return folder / f"{arm.name.replace(',', '').replace(' ', '-')}.json"


def _run_arms(
    laboratory: Laboratory,
    arms: list[Arm],
    config: FrontierConfig,
    folder: Path,
    track: Track,
) -> None:
    """Each leaves its result when it is done."""

    def run_share(share: list[Arm], track: Track) -> None:
        for arm in track(share, f"seed {laboratory.seed}", len(share)):
            stop_if_preempted()
            write_json(_path(folder, arm), run_arm(laboratory, arm, config))

    shares = [arms[number::AT_ONCE] for number in range(AT_ONCE)]
    side_by_side(track, *(functools.partial(run_share, s) for s in shares if s))


def _optimum(laboratory: Laboratory, config: FrontierConfig) -> dict:
    return {
        name: optimum_curve(
            laboratory.log_probs, laboratory.rewards, DIVERGENCES[name], PRICES
        )
        for name in config.divergences
    }


def _reward_model(laboratory: Laboratory, config: FrontierConfig) -> dict:
    """How well it knows the rewards, on pairs that nobody has seen and over all."""
    pool, first = laboratory.pool, 2 * config.num_pairs
    places = pool.prompts[first:], pool.answers[first:]
    held_out = places, laboratory.first_wins[config.num_pairs :]
    return {
        "num_pairs": config.num_pairs,
        "num_held_out": config.num_held_out,
        "accuracy": pair_accuracy(laboratory.learnt_rewards, *held_out),
        "accuracy_of_truth": pair_accuracy(laboratory.rewards, *held_out),
        "correlation": reward_correlation(
            laboratory.learnt_rewards, laboratory.rewards, laboratory.log_probs
        ),
    }


def _summary(
    folder: Path, arms: list[dict], optimum: dict, config: FrontierConfig
) -> dict:
    points = all_points(arms)
    return {
        "kind": "frontier",
        "comparisons": compare_methods(points, config),
        "shares_of_optimum": shares_of_optimum(points, optimum, config),
        "coverage": coverage(points, config),
        "points": points,
        "seconds": read_seconds(folder),
        "versions": versions(),
        "machine": machine(),
        "settings": dataclasses.asdict(config),
    }
