"""Factors of tuned confidence scales in `sophia-jax regret`, and how they were found.

    python scripts/tune_regret.py

Each agent acts in MDPs that are none of those that are reported: a longer and a shorter
river, and a linear mixture of other chances. Factors of the theory's scale are about
three apart. A factor will not do that leaves a confidence set empty, or with which
regret grows faster than T^0.6 over the second half of the steps in any bed: so it does
where runs lose for ever. Those that will (all, where none will) are judged by how many
times the least that any had in a bed their regret is, in the bed where that is most. Of
those within half as much again as the best, which seeds could decide, the largest is
chosen: it believes the truth most. It is printed beside the one that is in use.
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
from sophia_jax.evaluation.regret import log_log_slope  # noqa: E402
from sophia_jax.recipes.regret.agents import AGENTS, TUNED  # noqa: E402
from sophia_jax.recipes.regret.beds import Bed, bed_of  # noqa: E402
from sophia_jax.recipes.regret.claims import MOST_SLOPE  # noqa: E402
from sophia_jax.recipes.regret.sizes import DEFAULT_AGENTS  # noqa: E402

BEDS = {
    "riverswim-5": lambda: ar.river_swim(5),
    "riverswim-7": lambda: ar.river_swim(7),
    "another-mixture": lambda: ar.linear_mixture(4, leaving=0.15, advantage=0.075),
}
TIE = 1.5  # of regrets: ten seeds tell no less apart
SEEDS_FROM = 7  # of the key, which `sophia-jax regret` does not use


@dataclass(frozen=True)
class Tuning:
    """Try factors of the confidence scale of agents, and print the best."""

    agents: tuple[str, ...] = tuple(
        a for a in DEFAULT_AGENTS if AGENTS[a].scale == TUNED
    )
    """Names of agents with a tuned scale, as `sophia-jax regret` has them."""
    factors: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
    """Of the theory's scale."""
    seeds: int = 10
    """Runs of each; slow agents make three."""
    num_steps: int = 100_000
    """Steps of each; slow agents make 2,000 at most."""


@dataclass(frozen=True)
class Found:
    """What a factor comes to in a bed: mean regret, its growth, and empty sets."""

    regret: float
    slope: float
    empty: bool

    def __str__(self) -> str:
        return f"{self.regret:,.0f} ^{self.slope:.2f}" + " (empty)" * self.empty


def try_factor(
    agent: str, factor: float, bed: Bed, seeds: int, num_steps: int
) -> Found:
    """Runs of an agent in a bed."""
    keys = jax.random.split(jax.random.key(SEEDS_FROM), seeds)
    made = AGENTS[agent].make(bed, num_steps, factor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ar.EmptyConfidenceSet)
        warnings.simplefilter("ignore", ar.ContradictedOptimism)
        every = max(1, num_steps // 100)
        trace = ar.run(keys, made, bed.mdp, num_steps, every=every)
    jax.clear_caches()
    slope, _ = log_log_slope(trace.step, trace.pseudo_regret) or (0.0, None)
    empty = trace.notes.get("empty", np.zeros(1)).any()
    return Found(trace.pseudo_regret[:, -1].mean(), slope, bool(empty))


def tune(agent: str, beds: list[Bed], options: Tuning) -> float:
    """The factor that is chosen; each that is tried is printed."""
    slow = AGENTS[agent].pace == "slow"
    seeds = min(options.seeds, 3) if slow else options.seeds
    steps = min(options.num_steps, 2_000) if slow else options.num_steps
    fitting = [bed for bed in beds if AGENTS[agent].fits(bed)]
    tried = {}
    for factor in options.factors:
        tried[factor] = [try_factor(agent, factor, b, seeds, steps) for b in fitting]
        words = ", ".join(
            f"{bed.name} {found}"
            for bed, found in zip(fitting, tried[factor], strict=True)
        )
        print(f"  {agent:16s} {factor:<6g} {words}", flush=True)
    return choose(tried)


def choose(tried: dict[float, list[Found]]) -> float:
    """The best of some factors, by what each came to in every bed."""
    full = {k: v for k, v in tried.items() if not any(each.empty for each in v)}
    slow = {k: v for k, v in full.items() if max(f.slope for f in v) <= MOST_SLOPE}
    left = slow or full or tried
    costs = {k: [max(each.regret, 1.0) for each in v] for k, v in left.items()}
    least = np.min(list(costs.values()), axis=0)
    most = {k: (np.asarray(cost) / least).max() for k, cost in costs.items()}
    return max(k for k, times in most.items() if times <= TIE * min(most.values()))


def main() -> None:
    options = tyro.cli(Tuning)
    beds = [bed_of(name, make()) for name, make in BEDS.items()]
    print(f"{options.seeds} seeds of {options.num_steps:,} steps")
    for agent in options.agents:
        best = tune(agent, beds, options)
        print(f"{agent:16s} best {best:g}, in use {AGENTS[agent].factor:g}")


if __name__ == "__main__":
    main()
