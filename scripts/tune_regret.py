"""Factors of tuned confidence scales in `sophia-jax regret`, and how they were found.

    python scripts/tune_regret.py

Each agent acts in MDPs that are none of those that are reported: a longer and a shorter
river, and a linear mixture of other chances. Of some factors of the theory's scale that
are about three apart, the one with the least pseudo-regret is chosen, in the geometric
mean over the beds; a factor that leaves a confidence set empty is not. It is printed
beside the one that `sophia-jax regret` has.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

import jax  # noqa: E402
import numpy as np  # noqa: E402

from sophia_jax import average_reward as ar  # noqa: E402
from sophia_jax.recipes.regret.agents import AGENTS, TUNED  # noqa: E402
from sophia_jax.recipes.regret.beds import Bed, bed_of  # noqa: E402
from sophia_jax.recipes.regret.sizes import DEFAULT_AGENTS  # noqa: E402

BEDS = {
    "riverswim-5": lambda: ar.river_swim(5),
    "riverswim-7": lambda: ar.river_swim(7),
    "another-mixture": lambda: ar.linear_mixture(4, leaving=0.15, advantage=0.075),
}
SEEDS_FROM = 7  # of the key, which `sophia-jax regret` does not use


@dataclass(frozen=True)
class Tuning:
    """Try factors of the confidence scale of agents, and print the best."""

    agents: tuple[str, ...] = tuple(
        a for a in DEFAULT_AGENTS if AGENTS[a].scale == TUNED
    )
    """Names of agents with a tuned scale, as `sophia-jax regret` has them."""
    factors: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
    """Of the theory's scale."""
    seeds: int = 10
    """Runs of each; slow agents make three."""
    num_steps: int = 100_000
    """Steps of each; slow agents make 2,000 at most."""


def regret_of(
    agent: str, factor: float, bed: Bed, seeds: int, num_steps: int
) -> tuple[float, bool]:
    """Mean pseudo-regret at the end, and whether a confidence set was empty."""
    keys = jax.random.split(jax.random.key(SEEDS_FROM), seeds)
    made = AGENTS[agent].make(bed, num_steps, factor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ar.EmptyConfidenceSet)
        warnings.simplefilter("ignore", ar.ContradictedOptimism)
        trace = ar.run(keys, made, bed.mdp, num_steps, every=num_steps)
    jax.clear_caches()
    empty = bool(trace.notes.get("empty", np.zeros(1)).any())
    return float(trace.pseudo_regret[:, -1].mean()), empty


def tune(agent: str, beds: list[Bed], options: Tuning) -> float:
    """The factor with the least regret, each tried one printed."""
    slow = AGENTS[agent].pace == "slow"
    seeds = min(options.seeds, 3) if slow else options.seeds
    steps = min(options.num_steps, 2_000) if slow else options.num_steps
    fitting = [bed for bed in beds if AGENTS[agent].fits(bed)]
    scores = {}
    for factor in options.factors:
        found = [regret_of(agent, factor, bed, seeds, steps) for bed in fitting]
        words = ", ".join(
            f"{bed.name} {regret:,.0f}{' (an empty set)' if empty else ''}"
            for bed, (regret, empty) in zip(fitting, found, strict=True)
        )
        print(f"  {agent:16s} {factor:<6g} {words}", flush=True)
        if not any(empty for _, empty in found):
            scores[factor] = np.mean([np.log(max(regret, 1)) for regret, _ in found])
    return min(scores, key=scores.get, default=float("nan"))


def main() -> None:
    options = tyro.cli(Tuning)
    beds = [bed_of(name, make()) for name, make in BEDS.items()]
    print(f"{options.seeds} seeds of {options.num_steps:,} steps")
    for agent in options.agents:
        best = tune(agent, beds, options)
        print(f"{agent:16s} best {best:g}, in use {AGENTS[agent].factor:g}")


if __name__ == "__main__":
    main()
