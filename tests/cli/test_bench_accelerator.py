"""The accelerator benchmark counts its work, and tells results that are not a CPU's."""

import copy
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sophia_jax.config import TextConfig

SCRIPTS = Path(__file__).parents[2] / "scripts"
PARTS = ("_work", "_check", "", "_attention")
TEXT = TextConfig(
    vocab_size=7,
    hidden_size=4,
    num_layers=2,
    num_heads=3,
    num_kv_heads=1,
    head_dim=2,
    mlp_size=5,
    max_length=64,
    tied_head=True,
)


@pytest.fixture(scope="module")
def modules():
    """The script and its parts."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield [importlib.import_module(f"bench_accelerator{part}") for part in PARTS]
    for name in set(sys.modules) - before:
        if name.startswith("bench_"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def size(modules):
    """Of a model that compiles quickly."""
    return replace(modules[0].TINY, hidden_size=32, num_layers=1, head_dim=8)


@pytest.fixture(scope="module")
def options(modules, size):
    tiny = modules[0].Benchmark(device="cpu", tiny=True).sized()
    return replace(tiny, model=size, repetitions=1)


@pytest.fixture(scope="module")
def coming(modules, size):
    """The comparison's results, which a process of its own computes meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(modules[1].on_cpu, modules[1].results, 0, size)


def test_flop_of_an_update_are_counted_by_hand(modules):
    from sophia_jax.data.packing import Example

    # Of lengths 2 and 3 (the last token is no input), with 1 and 3 targets.
    examples = [Example(np.ones(2, int), np.ones(1, int))]
    examples += [Example(np.ones(1, int), np.ones(3, int))]
    # A layer: query and out 4 x 6, key and value 4 x 2, three of 4 x 5; the head 4 x 7.
    layer = 2 * 4 * 6 + 2 * 4 * 2 + 3 * 4 * 5
    weights = 5 * 2 * layer + 4 * 4 * 7
    # Pairs: 1 + 2 and 1 + 2 + 3; each has a score and a sum, of 3 heads of width 2.
    scores = 2 * 9 * 2 * 3 * 2
    assert modules[0].step_flop(TEXT, examples) == 3 * 2 * (weights + scores)


def test_bytes_of_decoding_are_counted_by_hand(modules, options):
    few = replace(options, slots=2, prompt_tokens=3, new_tokens=2, dtype="bfloat16")
    weights = 2 * (2 * 4 * 6 + 2 * 4 * 2 + 3 * 4 * 5) + 4 * 7
    # Keys and values of 2 layers, 1 head of width 2; contexts of 3 and 4 in 2 slots.
    cache = 2 * (3 + 4) * 2 * 2 * 1 * 2
    assert modules[0].decode_bytes(TEXT, few, steps=5) == 2 * (5 * weights + cache)


def test_every_figure_is_measured(modules, options, coming, monkeypatch):
    bench, attention = modules[2:]

    def on_cpu(call, *arguments):
        here = call is attention.attention_results
        return call(*arguments) if here else coming.result()

    monkeypatch.setattr(bench, "results", lambda seed: {})
    monkeypatch.setattr(bench, "on_cpu", on_cpu)
    monkeypatch.setattr(bench, "compare", lambda here, cpu: cpu)
    monkeypatch.setitem(bench.PEAKS, "cpu", (1e12, 1e10))
    figures = bench.measure(options)
    training, decoding = figures["training"], figures["decoding"]
    tokens = training["tokens_per_second"]["median"] * training["seconds"]["median"]
    assert tokens == pytest.approx(4 * 32)  # 4 examples, of which each reads 32 tokens
    assert training["mfu"] == training["flop_per_second"]["median"] / 1e12
    drawn = decoding["tokens_per_second"]["median"] * decoding["seconds"]["median"]
    assert drawn == pytest.approx(4 * 8)
    assert decoding["share"] == decoding["bytes_per_second"]["median"] / 1e10
    assert list(figures["attention"]) == ["xla"]
    assert figures["attention"]["xla"]["seconds"]["median"] > 0
    assert figures["attention"]["xla"]["apart"] == 0
    # The other process has made the same two updates.
    losses = [step["loss"] for step in figures["comparison"]["updates"]]
    assert training["losses"] == pytest.approx(losses, rel=1e-5)
    assert losses[1] < losses[0]


def test_the_table_says_what_is_not_known(modules):
    numbers = {"median": 2e12, "min": 1e12, "max": 3e12}
    rates = ("seconds", "tokens_per_second", "flop_per_second", "bytes_per_second")
    found = dict.fromkeys(rates, numbers)
    comparison = {"loss": 1e-7, "gradient_norm": 0.0, "equal_tokens": 1.0}
    figures = {
        "device": {"kind": "TPU v9"},
        "parameters": 10**9,
        "options": {"dtype": "bfloat16"},
        "machine": "M",
        "versions": {"jax": "1"},
        "training": found,
        "decoding": found | {"share": 0.5},
        "comparison": comparison | {"agrees": True},
        "attention": {"splash": {"seconds": numbers, "apart": 0.01}},
    }
    lines = modules[2].table(figures)
    assert lines[0] == "TPU v9, 1000.0M weights, bfloat16"
    assert [line.split() for line in lines if line.startswith("model FLOPs")] == [
        ["model", "FLOPs", "2", "1", "3", "TFLOP/s"]
    ]
    assert "\n".join(lines).count("not known") == 1
    assert lines[-3].startswith("attention, splash")
    assert lines[-3].endswith("1.0e-02 from the CPU's in float32")
    assert lines[-2].endswith("100.0% of greedy tokens equal: agrees")


@pytest.mark.parametrize("what", ["loss", "gradient_norm", "token"])
def test_results_that_differ_are_told(modules, coming, what):
    compare, here = modules[1].compare, coming.result()
    other = copy.deepcopy(here)
    if what == "token":
        other["greedy_tokens"][1][-1] += 1
    else:
        other["updates"][1][what] *= 1.01
    assert not compare(here, other)["agrees"]
    assert compare(here, here)["agrees"]


def test_attention_is_apart_by_its_largest_error(modules):
    work, attention = modules[0], modules[3]
    exact = attention.attention_results("xla", 8, "float32", 0)
    rounded = attention.attention_results("xla", 8, "bfloat16", 0)
    assert 0 < attention.apart(rounded, exact) < 0.02
    exact[2] = exact[2] * 1.5  # the gradient of the keys alone
    assert attention.apart(rounded, exact) > 0.3
    assert set(attention.BACKENDS) == {"cpu", "gpu", "tpu"}
    assert work.Benchmark().dtype == "bfloat16"  # which cuDNN takes
