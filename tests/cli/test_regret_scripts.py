"""Scripts about regret: what is timed, and how scales were tuned."""

import importlib
import math
import sys
from pathlib import Path

import pytest

from sophia_jax.recipes.regret.agents import AGENTS
from sophia_jax.recipes.regret.beds import BEDS

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def printed(monkeypatch, capsys):
    """What a script prints with some options."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def run(name, *options):
        monkeypatch.setattr(sys, "argv", [name, *options])
        importlib.import_module(name).main()
        return capsys.readouterr().out.splitlines()

    return run


def test_steps_a_second_are_told_of_each_agent(printed):
    agents = ("uniform", "q-learning")
    lines = printed(
        "bench_regret", "--num-steps", "300", "--seeds", "2", "--agents", *agents
    )
    assert lines[1] == "riverswim-6, 2 seeds of 300 steps"
    for line, agent in zip(lines[2:], agents, strict=True):
        name, rate, *words = line.split()
        assert name == agent and float(rate) > 0
        assert words[:2] == ["million", "steps/s,"]


def test_the_factor_with_the_least_regret_is_printed_beside_the_one_in_use(printed):
    sizes = ("--num-steps", "1000", "--seeds", "2", "--factors", "1", "0.003")
    lines = printed("tune_regret", "--agents", "q-learning", *sizes)
    assert lines[0] == "2 seeds of 1,000 steps"
    tried = {}
    for line in lines[1:3]:
        agent, factor, *beds = line.split()
        assert agent == "q-learning"
        assert beds[::2] == ["riverswim-5", "riverswim-7", "another-mixture"]
        costs = [float(bed.rstrip(",").replace(",", "")) for bed in beds[1::2]]
        tried[factor] = math.prod(costs)
    in_use = f"{AGENTS['q-learning'].factor:g}"
    best = min(tried, key=tried.get) + ","
    assert lines[3].split() == ["q-learning", "best", best, "in", "use", in_use]


def test_beds_of_tuning_are_none_of_those_that_are_reported(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    tuning = importlib.import_module("tune_regret")
    reported = [make() for make in BEDS.values()]
    for make in tuning.BEDS.values():
        mdp = make()
        for other in reported:
            same = mdp.transition.shape == other.transition.shape
            assert not (same and (mdp.transition == other.transition).all())
