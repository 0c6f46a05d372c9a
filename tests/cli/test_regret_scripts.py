"""Scripts about regret: what is timed, and how scales were tuned."""

import importlib
import sys
from pathlib import Path

import pytest

from sophia_jax import average_reward as ar
from sophia_jax.recipes.regret.agents import AGENTS
from sophia_jax.recipes.regret.beds import BEDS

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def tuning(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("tune_regret")


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
        assert name == agent and float(rate) >= 0
        assert words[:2] == ["million", "steps/s,"]


def test_every_factor_that_is_tried_is_printed(printed, tuning, monkeypatch):
    monkeypatch.setattr(tuning, "BEDS", {"mixture": lambda: ar.linear_mixture(3)})
    sizes = ("--num-steps", "200", "--seeds", "2", "--factors", "1", "0.003")
    lines = printed("tune_regret", "--agents", "q-learning", *sizes)
    assert lines[0] == "2 seeds of 200 steps"
    for line, factor in zip(lines[1:3], ("1", "0.003"), strict=True):
        assert line.split()[:3] == ["q-learning", factor, "mixture"]
    best, in_use = lines[3].split()[2], f"{AGENTS['q-learning'].factor:g}"
    assert lines[3].split() == ["q-learning", "best", best, "in", "use", in_use]
    assert best in ("1,", "0.003,")


def test_a_factor_that_loses_for_ever_in_one_bed_is_not_chosen(tuning):
    wide = [tuning.Found(900.0, 0.5, False), tuning.Found(800.0, 0.2, False)]
    middle = [tuning.Found(300.0, 0.3, False), tuning.Found(200.0, 0.1, False)]
    loses = [tuning.Found(10.0, 0.0, False), tuning.Found(220.0, 0.9, False)]
    empty = [tuning.Found(5.0, 0.0, True), tuning.Found(6.0, 0.0, False)]
    tried = {1.0: wide, 0.1: middle, 0.01: loses, 0.001: empty}
    assert tuning.choose(tried) == 0.1
    close = [tuning.Found(250.0, 0.3, False), tuning.Found(180.0, 0.1, False)]
    assert tuning.choose(tried | {0.03: close}) == 0.1  # no less than a tie
    far = [tuning.Found(100.0, 0.3, False), tuning.Found(90.0, 0.1, False)]
    assert tuning.choose(tried | {0.03: far}) == 0.03
    assert tuning.choose({k: tried[k] for k in (0.01, 0.001)}) == 0.01


def test_beds_of_tuning_are_none_of_those_that_are_reported(tuning):
    reported = [make() for make in BEDS.values()]
    for make in tuning.BEDS.values():
        mdp = make()
        for other in reported:
            same = mdp.transition.shape == other.transition.shape
            assert not (same and (mdp.transition == other.transition).all())
