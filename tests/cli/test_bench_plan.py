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
    found = {
        name: bench.measure(name, options) for name in ("update", "longest update")
    }
    per_tile = bench.model_config(str(models / "policy"), 1, 96).tokens_per_tile
    length = per_tile + 9 + 11 - 1  # the last token is no input
    number = 2 * (96 // length)
    assert found["update"]["unit"] == f"{number} trajectories of {length} tokens"
    assert found["longest update"]["unit"] == "2 trajectories of 95 tokens"
    # A first update leaves the adapters' product near 0: the loss hardly moves.
    first, second = found["update"]["losses"]
    assert first == pytest.approx(second, rel=0.05)
    for each in found.values():
        assert each["tokens_per_second"] > 0 and each["expected"]["bytes"] > 0
    # The longest rows have the more tokens, and pairs of them.
    expected = [each["expected"]["seconds"] for each in found.values()]
    assert expected[1] > expected[0] > 0
    assert bench.row("update", found["update"]).split()[4] == "–"  # of a CPU's memory
