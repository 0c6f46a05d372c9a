"""Steps a second of agents in average-reward MDPs, all seeds in one program.

    python scripts/bench_regret.py

Each agent runs on RiverSwim with six states: once to compile, which is told apart, and
once more with other keys. LOOP on a finite class runs for its whole 50 seeds of 10^5
steps, which are to take less than a minute; the others are to make 10^6 steps a second.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

import jax  # noqa: E402

from sophia_jax import average_reward as ar  # noqa: E402
from sophia_jax.recipes.machine import machine, versions  # noqa: E402
from sophia_jax.recipes.regret.agents import AGENTS  # noqa: E402
from sophia_jax.recipes.regret.beds import make_bed  # noqa: E402

TABULAR = ("loop-models", "ucrl2", "psrl", "q-learning", "epsilon-greedy")


@dataclass(frozen=True)
class Benchmark:
    """Time runs of agents, and print their steps a second."""

    agents: tuple[str, ...] = TABULAR
    """Names, as `sophia-jax regret` has them."""
    seeds: int = 50
    """Runs that go on together."""
    num_steps: int = 100_000
    """Steps of each."""


def seconds_of(agent: ar.Agent, options: Benchmark, seed: int) -> tuple[float, float]:
    """Wall-clock seconds of a call, and the mean number of switches."""
    keys = jax.random.split(jax.random.key(seed), options.seeds)
    every = max(1, options.num_steps // 100)
    start = time.perf_counter()
    trace = ar.run(
        keys, agent, make_bed("riverswim-6").mdp, options.num_steps, every=every
    )
    return time.perf_counter() - start, float(trace.switches.mean())


def main() -> None:
    options = tyro.cli(Benchmark)
    found, bed = machine(), make_bed("riverswim-6")
    packages = versions()
    print(
        f"jax {packages['jax']}, python {packages['python']}, {found['device']} "
        f"({found['processor']}), {found['cores']} cores, {found['memory_gib']} GiB"
    )
    print(f"riverswim-6, {options.seeds} seeds of {options.num_steps:,} steps")
    for name in options.agents:
        entry = AGENTS[name]
        agent = entry.make(bed, options.num_steps, entry.factor)
        first, _ = seconds_of(agent, options, 0)
        seconds, switches = seconds_of(agent, options, 1)
        rate = options.seeds * options.num_steps / seconds
        print(
            f"  {name:16s} {rate / 1e6:6.2f} million steps/s, {seconds:6.2f} s "
            f"(with compilation {first:.1f} s), {switches:.0f} switches a seed"
        )


if __name__ == "__main__":
    main()
