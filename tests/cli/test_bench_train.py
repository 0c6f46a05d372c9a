"""The training benchmark gives both engines the same work, and counts what is real."""

import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from sophia_jax.config import ModelConfig, TextConfig
from sophia_jax.data.packing import Example

SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = TextConfig(
    vocab_size=64,
    hidden_size=16,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    mlp_size=24,
    max_length=64,
    tied_head=True,
)


@pytest.fixture(scope="module")
def bench():
    """The script, with a tiny model in place of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        modules = [
            importlib.import_module(name)
            for name in ("bench_train_engines", "bench_train_limits", "bench_train")
        ]
        for module in (modules[0], modules[2]):
            patch.setattr(module, "TEXT", TINY)
        yield modules[2]
    for module in modules:
        del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def options(bench):
    return bench.Workload(
        batch_size=6,
        micro_batches=2,
        row_length=64,
        torch_micro_batches=(2,),
        repetitions=2,
        prompt_tokens=5,
        median_answer=6.0,
        longest_answer=20,
        threads=1,
    )


def test_both_engines_start_with_one_loss_and_one_update(bench, options):
    model = bench.random_model(ModelConfig(TINY), 0)
    first, second, _ = bench.make_examples(options, TINY.vocab_size)
    ours = bench.our_updates(model, options)
    for parts in (1, 3):
        theirs = bench.torch_updates(model, options, parts)
        assert theirs(first) == pytest.approx(
            float(np.mean(list(losses(model, first))))
        )
    assert ours(first) == pytest.approx(
        float(np.mean(list(losses(model, first)))), rel=1e-5
    )
    # The second loss is that of the updated weights.
    assert ours(second) == pytest.approx(theirs(second), rel=1e-4)


def losses(model, examples):
    """Of each example alone, by the plain forward, in nats."""
    from flax import nnx

    module = nnx.merge(model.graphdef, model.params)
    for example in examples:
        ids = np.concatenate([example.prompt_ids, example.target_ids])[None]
        embeds = module.embed(ids[:, :-1], None, np.full_like(ids[:, :-1], -1))
        positions = np.arange(ids.shape[1] - 1)[None]
        hidden = module.decoder(embeds, positions, np.ones_like(positions))
        log_probs = jax.nn.log_softmax(hidden[0] @ module.decoder.head)
        first = len(example.prompt_ids) - 1
        rows = np.arange(first, first + len(example.target_ids))
        yield -np.sum(log_probs[rows, example.target_ids])


def test_every_figure_is_measured(bench, options):
    figures = bench.surroundings() | bench.measure(options)
    assert len(figures["series"]["ours"]["seconds"]) == 2
    assert figures["programs_while_timed"] == 0
    pairs = zip(
        *(figures["series"][n]["losses"] for n in ("ours", "torch")), strict=True
    )
    assert len(list(pairs)) == 2
    figures["head_bytes"] = {"chunked": 2**20, "full": 2**22}
    figures["peak_gib"] = {"ours": 1.0, "torch": 2.0}
    lines = bench.table(figures)
    assert lines[1].startswith("ours") and "1.00" in lines[1]
    assert any("1 in chunks, 4 whole" in line for line in lines)


def test_padding_is_no_real_token(bench):
    engines = sys.modules["bench_train_engines"]
    examples = [
        Example(np.asarray([1, 2]), np.asarray([3])),
        Example(np.asarray([4]), np.asarray([5, 6, 7, 8])),
    ]
    padded = engines.pad_right(examples)
    assert padded["input_ids"].tolist() == [[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]]
    assert padded["attention_mask"].sum(axis=1).tolist() == [3, 5]
    assert padded["labels"].tolist() == [
        [-100, -100, 3, -100, -100],
        [-100, 5, 6, 7, 8],
    ]
    assert engines.padded_fill(examples, 1) == 8 / 10
    assert engines.padded_fill(examples, 2) == 1


def test_parts_hold_neighbours_in_length(bench):
    engines = sys.modules["bench_train_engines"]
    examples = [Example(np.ones(n, int), np.ones(1, int)) for n in (5, 1, 4, 2, 3)]
    parts = engines.split_by_length(examples, 2)
    assert [[e.length for e in part] for part in parts] == [[1, 2], [3, 4, 5]]


def test_the_head_in_chunks_needs_a_fraction_of_the_memory(bench):
    limits = sys.modules["bench_train_limits"]
    found = limits.head_bytes(2048, 16, 4096, chunk=64)
    assert found["full"] >= 4 * 2048 * 4096
    assert found["chunked"] < found["full"] / 10


def test_weights_are_counted_by_hand(bench):
    limits = sys.modules["bench_train_limits"]
    # q, o: 16 x 16; k, v: 16 x 8; gate, up, down: 16 x 24; two layers; head 16 x 64.
    layer = 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 24
    assert limits.num_weights(TINY) == 2 * layer + 16 * 64
    assert limits.product_rate(TINY, 32) > 0


def test_peak_memory_is_that_of_this_process(bench):
    limits = sys.modules["bench_train_limits"]
    before = limits.peak_memory_bytes()
    held = np.ones(2 * before // 8)
    assert limits.peak_memory_bytes() >= held.nbytes


def test_the_spread_is_median_and_ends(bench):
    assert bench.spread([3.0, 1.0, 2.0]) == {"median": 2.0, "least": 1.0, "most": 3.0}
