"""A plan is held against the machine by the work that it was made for."""

import importlib
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
RUN = '''"""Adapters of a tiny model."""

from sophia_jax.config import LoraConfig
from sophia_jax.planning.run_plan import RoundSizes, RunPlan

PLAN = RunPlan(
    policy={policy!r},
    reasoner=None,
    slice="h100-1",
    lora=LoraConfig(rank=2),
    tiles=2,
    max_length=96,
    caption_length=8,
    sizes=RoundSizes(
        tiles=1.0, question_tokens=9, caption_tokens=8, reasoning_tokens=11
    ),
)
'''


@pytest.fixture(scope="module")
def bench():
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("bench_plan")
    for name in set(sys.modules) - before:
        if name.startswith("bench_"):
            del sys.modules[name]


def test_an_update_is_measured_beside_what_is_planned_of_the_same_work(
    bench, models, tmp_path
):
    run = tmp_path / "run.py"
    run.write_text(RUN.format(policy=str(models / "policy")))
    options = bench.Options(config=run, micro_batches=2, repetitions=1)
    found = bench.measure("longest update", options)
    assert found["unit"] == "2 trajectories of 95 tokens"  # the last is no input
    # At first the adapters' product is 0, and an update hardly moves it.
    first, second = found["losses"]
    assert first == pytest.approx(second, rel=0.05)
    # The same work is bounded: of two rows it is twice that of one.
    plan = bench.longest(bench.read_run_file(run))
    one = bench.expected(bench.replace(plan, batch_size=1), "policy update")
    assert found["expected"]["seconds"] == pytest.approx(2 * one["seconds"], rel=0.5)
    assert found["expected"]["bytes"] > 0
    assert bench.row("update", found).split()[4] == "–"  # of a CPU's memory
