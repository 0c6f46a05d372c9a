"""Sizes of a comparison by regret: the real ones, and those of a quick look."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from sophia_jax.recipes.regret.agents import AGENTS, THEORY
from sophia_jax.recipes.regret.beds import BEDS, make_bed
from sophia_jax.types import InputError

__all__ = ["DEFAULT_AGENTS", "DEFAULT_BEDS", "Cell", "RegretConfig", "quick_size"]

DEFAULT_AGENTS = (
    "loop-models",
    "loop-models-theory",
    "loop-tabular",
    "loop-tabular-theory",
    "loop-mixture",
    "loop-mixture-theory",
    "loop-linear",
    "loop-linear-theory",
    "ucrl2",
    "ucrl2-theory",
    "psrl",
    "q-learning",
    "gamma-lscvi-ucb",
    "fopo",
    "olsvi-fh",
    "mdp-exp2",
    "epsilon-greedy",
    "optimal",
)
DEFAULT_BEDS = ("riverswim-6", "linear-mixture")


@dataclass(frozen=True)
class Cell:
    """All runs of one agent in one bed."""

    agent: str
    bed: str
    num_steps: int
    num_seeds: int

    @property
    def name(self) -> str:
        return f"{self.agent}@{self.bed}"


@dataclass(frozen=True)
class RegretConfig:
    """Who acts where, and for how long.

    Attributes:
      agents: by their names in `AGENTS`.
      beds: by their names in `BEDS`.
      num_steps: T.
      slow_steps: T of agents that plan at nearly every step, at most.
      seeds: runs of each agent in each bed; None for those below.
      tuned_seeds: of agents without a theory's scale.
      theory_seeds: of those at the theory's scale: coverage is counted over them.
      slow_seeds: of slow agents.
      num_records: points of a curve.
    """

    agents: tuple[str, ...] = DEFAULT_AGENTS
    beds: tuple[str, ...] = DEFAULT_BEDS
    num_steps: int = 100_000
    slow_steps: int = 2_000
    seeds: int | None = None
    tuned_seeds: int = 20
    theory_seeds: int = 50
    slow_seeds: int = 3
    num_records: int = 100

    def __post_init__(self) -> None:
        _known("agents", self.agents, AGENTS)
        _known("beds", self.beds, BEDS)
        for name in ("num_steps", "slow_steps", "num_records"):
            _at_least_one(name, getattr(self, name))
        for name in ("seeds", "tuned_seeds", "theory_seeds", "slow_seeds"):
            value = getattr(self, name)
            if value is not None:
                _at_least_one(name, value)
        for agent in self.agents:
            if not any(AGENTS[agent].fits(make_bed(bed)) for bed in self.beds):
                raise InputError(
                    f"--agents: expected ones that can act in {', '.join(self.beds)}, "
                    f"got {agent}, which needs a linear mixture"
                )

    def cells(self) -> list[Cell]:
        """Of all agents in the beds that they can act in."""
        return [
            self._cell(agent, bed)
            for bed in self.beds
            for agent in self.agents
            if AGENTS[agent].fits(make_bed(bed))
        ]

    def _cell(self, agent: str, bed: str) -> Cell:
        entry = AGENTS[agent]
        slow = entry.pace == "slow"
        by_scale = self.theory_seeds if entry.scale == THEORY else self.tuned_seeds
        seeds = self.seeds or (self.slow_seeds if slow else by_scale)
        steps = min(self.num_steps, self.slow_steps) if slow else self.num_steps
        return Cell(agent, bed, steps, seeds)


def quick_size(config: RegretConfig) -> RegretConfig:
    """The same agents and beds, with so few steps that nothing follows from it."""
    return dataclasses.replace(
        config,
        num_steps=min(config.num_steps, 2_000),
        slow_steps=100,
        tuned_seeds=3,
        theory_seeds=5,
        slow_seeds=1,
    )


def _known(name: str, given: tuple[str, ...], known: Iterable[str]) -> None:
    unknown = [each for each in given if each not in known]
    rule = f"some of {', '.join(known)}"
    if not given or unknown:
        got = ", ".join(unknown) or "none"
        raise InputError(f"--{name}: expected {rule}; got {got}")
    if len(set(given)) < len(given):
        raise InputError(f"--{name}: expected each once, got {', '.join(given)}")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        option = name.replace("_", "-")
        raise InputError(f"--{option}: expected >= 1, got {value}")
