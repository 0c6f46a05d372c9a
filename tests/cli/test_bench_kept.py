"""The benchmark of early stopping: its outcomes, its costs, and what it refuses."""

import dataclasses
import importlib
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = {
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "mlp_size": 24,
    "vocab_size": 50,
}
SHORT = {
    "num_questions": 6,
    "num_captions": 4,
    "num_reasonings": 8,
    "question_tokens": 4,
    "caption_tokens": 4,
    "median_length": 30.0,
    "max_new_tokens": 96,
}


@pytest.fixture(scope="module")
def bench():
    """The script, as a module."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module("bench_kept")
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def options(bench):
    return bench.Benchmark(
        workload=bench.Workload(**SHORT),
        model=bench.ModelSize(**TINY),
        success=(0.8,),
        peers=("transformers",),
        peer_questions=1,
        batch_rows=(8,),
        slots=16,
    )


@pytest.fixture(scope="module")
def figures(bench, options):
    return bench.measure(options)["0.8"]


def test_outcomes_have_the_chances_and_lengths_that_are_asked_for(bench, options):
    work = bench.Workload(num_questions=2000, num_reasonings=8)
    options = dataclasses.replace(options, workload=work)
    outcomes = bench.draw_outcomes(options, 0.3)
    assert outcomes.right.shape == (2000, 8, 8)
    # Beta(1.2, 2.8): the standard deviation of a chance is 0.205, of 16,000 0.0016.
    assert abs(outcomes.right.mean() - 0.3) < 4 * 0.0025
    chances = outcomes.right.mean(axis=2)
    # Var(p) + E[p (1 - p)] / 8 = 0.042 + (0.21 - 0.042) / 8.
    assert chances.var() == pytest.approx(0.063, rel=0.05)
    wrong, right = (np.median(outcomes.lengths[outcomes.right == r]) for r in (0, 1))
    assert (wrong, right) == (pytest.approx(96, abs=2), pytest.approx(67, abs=2))


def test_what_full_sampling_keeps_is_the_shortest_under_a_caption_that_passed(bench):
    right = np.ones((2, 2, 8), bool)
    right[0, 0, :2] = right[1, :, :2] = False  # 6 of 8 are not more than 75 %
    lengths = np.full(right.shape, 9)
    lengths[0, 0, 5], lengths[0, 1, 3] = 2, 4
    outcomes = bench.Outcomes(right, lengths)
    assert outcomes.selection(0.75) == [(1, 3), None]


def test_it_saves_tokens_and_counts_what_was_kept(bench, options, figures):
    outcomes = bench.draw_outcomes(options, 0.8)
    kept = [pair for pair in outcomes.selection(0.75) if pair]
    assert figures["kept"] == len(kept) > 0
    assert figures["tokens"] == outcomes.lengths.sum()
    assert 0.1 < figures["saved"]["median"] < 0.9
    ours = figures["kept_per_second"]["sophia_jax"]["median"]
    peer = figures["kept_per_second"]["transformers"]["median"]
    ratio = figures["ours_over_peer"]["transformers"]["median"]
    assert ratio == pytest.approx(ours / peer)


def test_a_peer_samples_everything_of_the_first_questions(bench, options):
    model = bench.random_model(options.model, options.workload)
    outcomes = bench.draw_outcomes(options, 0.8)
    phase = bench.Collection(options, model).for_peers(outcomes, 2)
    assert list(phase.prompts)[::4] == ["question-0/caption-0", "question-1/caption-0"]
    assert phase.useful_tokens == outcomes.lengths[:2].sum()


def test_a_selection_that_differs_is_refused(bench, options, monkeypatch):
    collect = bench.Collection(
        options, bench.random_model(options.model, options.workload)
    )
    outcomes = bench.draw_outcomes(options, 0.8)
    row = next(i for i, kept in enumerate(outcomes.selection(0.75)) if kept)

    real = bench.write_reasonings
    monkeypatch.setattr(
        bench,
        "write_reasonings",
        lambda *a, **k: [
            each | {"reward": 0.0} if each["question_id"] == f"question-{row}" else each
            for each in real(*a, **k)
        ],
    )
    with pytest.raises(ValueError, match=rf"question-{row}: expected the selection"):
        collect(outcomes)


def test_what_is_printed_holds_every_figure(bench, options, figures):
    shown = io.StringIO()
    found = bench.surroundings() | {
        "options": dataclasses.asdict(options),
        "success": {"0.8": figures},
    }
    bench.show(found, Console(file=shown, width=200))
    text = shown.getvalue()
    assert f"{figures['saved']['median']:.1%}" in text
    assert f"{figures['ours_over_peer']['transformers']['median']:.1f}" in text
