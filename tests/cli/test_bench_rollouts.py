"""The rollout benchmark measures what it says it measures."""

import dataclasses
import importlib
import io
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from sophia_jax.data.prompts import encode_prompt

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
    "num_questions": 2,
    "num_captions": 3,
    "num_reasonings": 2,
    "image_tokens": 5,
    "caption_prompt_tokens": 3,
    "question_tokens": 4,
    "caption_tokens": 4,
    "median_length": 4.0,
    "max_new_tokens": 8,
}


@pytest.fixture(scope="module")
def script():
    """Imports one of the scripts by name."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def workloads(script):
    return script("bench_workload")


@pytest.fixture(scope="module")
def measures(script):
    return script("bench_measure")


@pytest.fixture(scope="module")
def short(workloads):
    return workloads.Workload(**SHORT)


@pytest.fixture(scope="module")
def model(workloads, short):
    return workloads.random_model(workloads.ModelSize(**TINY), short)


def test_lengths_have_their_median_and_end_at_the_cap(workloads):
    rng = np.random.default_rng(0)
    lengths = workloads.draw_lengths(rng, (200, 500), median=96.0, sigma=0.7, most=384)
    assert abs(np.median(lengths) - 96) <= 1
    # log(384 / 96) = 1.980 standard deviations of 0.7: 2.4 % lie above.
    assert abs(np.mean(lengths == 384) - 0.024) < 0.002
    assert lengths.max() == 384
    wide = workloads.draw_lengths(rng, 1000, median=2.0, sigma=3.0, most=9)
    assert (wide.min(), wide.max()) == (1, 9)


def test_a_round_has_the_samples_and_prompts_of_the_paper_s_shape(workloads):
    workload = workloads.Workload()
    captions = workloads.caption_phase(workload, 4096)
    reasonings = workloads.reasoning_phase(workload, 4096)
    assert [len(p.row_lengths) for p in (captions, reasonings)] == [32, 256]
    assert [p.prompt_length for p in (captions, reasonings)] == [320, 160]


def shared_tokens(first, second):
    """How many tokens two prompts begin with in common."""
    return int(np.argmin(np.append(first == second, False)))


@pytest.mark.parametrize(("distinct", "shared"), [(False, 4), (True, 0)])
def test_the_captions_of_a_question_share_its_tokens(
    workloads, short, distinct, shared
):
    short = dataclasses.replace(short, distinct_prefixes=distinct)
    prompts = workloads.reasoning_phase(short, 4096).prompts
    one, other = prompts["question-0/caption-0"], prompts["question-0/caption-2"]
    assert shared_tokens(one, other) == shared
    assert shared_tokens(one, prompts["question-1/caption-0"]) == 0


def test_the_tokenizer_reads_a_prompt_as_exactly_its_tokens(workloads, short, model):
    phase = workloads.caption_phase(short, TINY["vocab_size"])
    for request in phase.requests():
        read = encode_prompt(model.tokenizer, model.config, request.text)
        np.testing.assert_array_equal(read, phase.prompts[request.group])


def test_the_first_rows_are_whole_groups(workloads, short):
    phase = workloads.caption_phase(short, TINY["vocab_size"])
    assert list(phase.first(3).lengths) == ["question-0"]
    assert list(phase.first(4).prompts) == ["question-0", "question-1"]
    assert phase.shortened(2).row_lengths.max() <= 2


def test_a_run_that_lacks_anything_is_refused_with_all_of_it(workloads):
    phase = workloads.Phase(
        "captions", {"a": np.zeros(3, int)}, {"a": np.array([2, 1, 1])}, seed=0
    )
    token_ids = {("a", 0): np.array([5]), ("a", 1): np.array([99])}
    run = workloads.Run(token_ids, steps={1: 1, 2: 1})
    with pytest.raises(ValueError) as refused:
        workloads.check_run(phase, run, vocab_size=50)
    assert str(refused.value) == (
        "captions: ('a', 0): expected 2 tokens, got 1; ('a', 1): expected tokens in "
        "[0, 50); ('a', 2) is missing; 3 row-steps for 4 tokens"
    )


def test_padding_is_what_a_static_batch_draws_for_those_that_ended(measures):
    # Rows of 3, 1 and 2 tokens run for 3 steps: 9 tokens, of which 6 are useful.
    assert measures.padding_share(6, 9) == pytest.approx(1 / 3)
    assert measures.padding_share(6, 6) == 0


def test_ratios_are_taken_within_a_repetition(measures):
    # A machine at half its speed in the second repetition leaves both pairs at 2.
    assert measures.pair_ratios([8, 4, 9], [4, 2, 3]) == {
        "median": 2,
        "min": 2,
        "max": 3,
    }


def test_products_take_what_their_batches_take(measures):
    # 3 steps of 4 rows at 8 rows a second, and 2 steps of one row at 1 row a second.
    def rate(rows, *, least_seconds):
        return {4: 8.0, 1: 1.0}[rows]

    assert measures.products_seconds({4: 3, 1: 2}, rate, least_seconds=0) == 3.5


def test_the_products_are_those_of_all_matrices(measures, workloads, model):
    leaves = jax.tree.leaves(model.params["decoder"]["layers"])
    matrices = sum(leaf.size for leaf in leaves if leaf.ndim == 3)
    text = model.config.text
    head = text.hidden_size * text.vocab_size
    assert measures.product_parameters(text) == matrices + head
    # 8 layers of 512 x (512 + 512 + 128 + 128 + 3 x 1408), and the head: 25M.
    default = dataclasses.replace(text, **vars(workloads.ModelSize()))
    assert measures.product_parameters(default) == 24_641_536
    rate = measures.ProductRate(model.params, text)(4, least_seconds=0.01)
    assert rate > 0


def test_compilations_are_counted_once_each(measures):
    compilations = measures.Compilations()
    program = jax.jit(lambda x: x * 17 + 4)
    program(np.ones(11, np.float32)).block_until_ready()
    assert compilations.count >= 1
    before = compilations.count
    program(np.zeros(11, np.float32)).block_until_ready()
    assert compilations.count == before


def test_the_fastest_batch_size_is_taken(script, workloads, short, monkeypatch):
    engines = script("bench_engines")
    phase = workloads.reasoning_phase(short, TINY["vocab_size"])
    tried = []
    seconds = {2: 5.0, 4: 3.0, 8: 4.0}
    monkeypatch.setattr(
        engines, "seconds_of", lambda call: (call(), seconds[tried[-1][1]])
    )

    def engine(part, rows):
        tried.append((len(part.row_lengths), rows))

    assert engines.fastest_rows(engine, phase, (2, 4, 8)) == 4
    assert set(tried) == {(8, 2), (8, 4), (8, 8)}
    assert engines.fastest_rows(engine, phase, (2,)) == 2
    assert tried[-1] == (12, 2)


def test_transformers_runs_the_same_model_to_the_forced_lengths(
    script, workloads, short, model
):
    engines = script("bench_engines")
    peer = engines.build_engine("transformers", model, short.max_new_tokens)
    phase = workloads.caption_phase(short, TINY["vocab_size"])
    prompt = next(iter(phase.prompts.values()))
    assert engines.logit_difference(model, peer, prompt) < 1e-4
    run = peer(phase, 3)
    workloads.check_run(phase, run, TINY["vocab_size"])
    longest = [lengths.max() for lengths in phase.lengths.values()]
    assert run.row_steps == 3 * sum(longest)
    other = dataclasses.replace(short, seed=1)
    stranger = workloads.random_model(workloads.ModelSize(**TINY), other)
    with pytest.raises(ValueError, match="logits: expected to differ by at most"):
        engines.logit_difference(stranger, peer, prompt)


def test_a_peer_that_is_not_installed_is_left_out_with_a_line(
    script, monkeypatch, capsys
):
    script("bench_rollouts")
    monkeypatch.setattr(
        sys.modules["bench_engines"],
        "find_spec",
        lambda name: None if name == "tunix" else name,
    )
    available = sys.modules["bench_rollouts"].available
    options = available(sys.modules["bench_rollouts"].Benchmark())
    assert options.peers == ("transformers",)
    assert capsys.readouterr().out == (
        "tunix is not installed and left out; to have it: python -m pip install "
        "'.[bench]'\n"
    )


def test_the_benchmark_reports_each_phase_and_engine(script, workloads, short):
    bench = script("bench_rollouts")
    options = bench.Benchmark(
        workload=short,
        model=workloads.ModelSize(**TINY),
        peers=("transformers",),
        repetitions=2,
        slots=4,
        batch_rows=(4,),
        limit_seconds=0.01,
        memory=False,
    )
    figures = json.loads(json.dumps(bench.run(options)))
    assert list(figures["phases"]) == ["captions", "reasonings"]
    for phase in figures["phases"].values():
        assert len(phase["engines"]["sophia_jax"]["tokens_per_second"]) == 2
        assert phase["engines"]["sophia_jax"]["programs"] == [0, 0]
        assert phase["ours_over_peer"]["transformers"]["min"] > 0
        assert phase["limit"]["rows"] == 4
        steps = phase["engines"]["sophia_jax"]["steps"]
        tokens = sum(int(rows) * number for rows, number in steps.items())
        assert tokens >= phase["useful_tokens"]
    out = io.StringIO()
    script("bench_report").show(figures, Console(file=out, width=150))
    assert out.getvalue().count("ours reaches") == 4
    assert "reasonings: 12 samples from prompts of 8 tokens" in out.getvalue()
