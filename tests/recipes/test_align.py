"""A policy is aligned with preferences: held-out pairs, resumption, refusals."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from sophia_jax.data.preferences import Preference
from sophia_jax.evaluation.metrics import wilson_interval
from sophia_jax.losses import FORWARD_KL, REVERSE_KL
from sophia_jax.models.folder import save_model
from sophia_jax.recipes import align_task
from sophia_jax.recipes.align import align
from sophia_jax.recipes.align_config import AlignConfig, MinedFrom
from sophia_jax.recipes.pair_scores import measure_pairs, pair_intervals, pair_values
from sophia_jax.recipes.phases import UpdateConfig
from sophia_jax.recipes.preferences import hold_out
from sophia_jax.training.metrics import read_metrics
from sophia_jax.types import InputError

PHASE = UpdateConfig(
    num_steps=8, batch_size=4, row_length=64, learning_rate=3e-3, checkpoint_every=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, text_model):
    """A policy, and preferences for short answers; two pairs of each question."""
    folder = tmp_path_factory.mktemp("align")
    save_model(text_model, folder / "policy")
    rows = [
        {"prompt": f"{a} + {b}", "chosen": f"{a + b}", "rejected": f"{a}{end}"}
        for a in range(4)
        for b in range(3)
        for end in (" or so", " - 1")
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pairs.jsonl").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def config(folder):
    return AlignConfig(
        policy=str(folder / "policy"),
        preferences=str(folder / "pairs.jsonl"),
        phase=PHASE,
        held_out=0.25,
        evaluate_every=4,
        own_answers=8,
    )


def quiet(line):
    """Says nothing."""


@pytest.fixture(scope="module")
def aligned(folder, config):
    """Folder and summary of an undisturbed run."""
    summary = align(folder / "whole", config, say=quiet)
    return folder / "whole", summary


def test_learning_raises_the_held_out_margin_and_lowers_the_loss(aligned):
    _, summary = aligned
    before, after = (summary["held_out_pairs"][name] for name in ("before", "after"))
    assert before["loss"] == pytest.approx(np.log(2))
    assert (before["reward_margin"], before["reward_accuracy"]) == (0, 0.5)
    assert before["preference_calibration_error"] == 0
    assert after["reward_margin"] > 0.5
    assert after["loss"] < 0.5
    assert after["reward_accuracy"] == 1
    assert after["rejected_log_ratio"] < min(0, after["chosen_log_ratio"])


def test_held_out_pairs_are_looked_at_before_meanwhile_and_after(aligned):
    out, summary = aligned
    looks = read_metrics(out / "training" / "f_dpo" / "held_out" / "metrics.jsonl")
    assert [look["step"] for look in looks] == [0, 4, 8]
    found = summary["held_out_pairs"]
    assert found["before"].items() <= looks[0].items()
    assert found["after"].items() <= looks[-1].items()
    margins = pq.read_table(out / "held_out")["reward_margin"].to_numpy()
    assert np.mean(margins) == pytest.approx(looks[-1]["reward_margin"])
    low, high = found["intervals_after"]["reward_margin"]
    assert low < np.mean(margins) < high
    rows = read_metrics(out / "training" / "f_dpo" / "metrics.jsonl")
    assert rows[-1]["reward_margin"] > rows[0]["reward_margin"]


def test_own_answers_tell_at_each_look_how_far_the_policy_has_gone(aligned):
    out, summary = aligned
    looks = read_metrics(out / "training" / "f_dpo" / "held_out" / "metrics.jsonl")
    kl = [look["divergence_reverse_kl"] for look in looks]
    assert kl[0] == 0 < min(kl[1:])
    assert all(look["token_entropy"] > 0 and look["distinct_2"] > 0 for look in looks)
    found = summary["held_out_pairs"]
    low, high = found["intervals_after"]["divergence_reverse_kl"]
    assert low < found["after"]["divergence_reverse_kl"] == kl[-1] < high
    assert "divergence_reverse_kl_low" not in found["after"]


def test_no_own_answers_are_asked_where_none_are_wanted(folder, config):
    phase = dataclasses.replace(PHASE, num_steps=1)
    without = dataclasses.replace(config, phase=phase, own_answers=0)
    summary = align(folder / "without", without, say=quiet)
    assert "reward_margin" in summary["held_out_pairs"]["after"]
    assert "token_entropy" not in summary["held_out_pairs"]["after"]


def test_the_pairs_and_the_references_scores_are_tables(aligned, text_model):
    out, summary = aligned
    pairs = pq.read_table(out / "pairs").to_pylist()
    assert summary["pairs"] == {"training": 18, "held_out": 6}
    assert [row["held_out"] for row in pairs].count(True) == 6
    sides = {}
    for row in pairs:
        sides.setdefault(row["question"], set()).add(row["held_out"])
    assert all(len(side) == 1 for side in sides.values())  # a question is on one side
    scores = pq.read_table(out / "reference").to_pylist()
    assert [row["id"] for row in scores] == [row["id"] for row in pairs]
    count = len(text_model.tokenizer(pairs[0]["rejected"]).input_ids) + 1
    assert len(scores[0]["rejected_log_probs"]) == count


def files(out):
    """What a run is judged by: weights, and what was measured."""
    names = ("model/model.safetensors", "training/f_dpo/held_out/metrics.jsonl")
    return [(out / name).read_bytes() for name in names]


class Killed(Exception):
    """Stands for the end of a process."""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    aligned, folder, config, monkeypatch
):
    out = folder / "killed"

    def killed_in(place):
        def track(iterable, description, total, **options):
            for index, each in enumerate(iterable):
                if (description, index) == place:
                    raise Killed
                yield each

        return track

    for place in (("reference", 0), ("f-DPO", 5)):
        with pytest.raises(Killed):
            align(out, config, say=quiet, resume=True, track=killed_in(place))
        assert not (out / "model").exists()
    with pytest.raises(InputError, match="--resume goes on with it"):
        align(out, config, say=quiet)
    other = dataclasses.replace(config, beta=0.2)
    with pytest.raises(InputError, match="beta was 0.1, is 0.2"):
        align(out, other, say=quiet, resume=True)

    def score(*arguments, **options):
        raise AssertionError("the reference was scored again")

    monkeypatch.setattr(align_task, "store_scores", score)
    with pytest.raises(AssertionError):
        align(out, config, say=quiet, resume=True)
    monkeypatch.undo()
    summary = align(out, config, say=quiet, resume=True)
    assert files(out) == files(aligned[0])
    assert summary["held_out_pairs"] == aligned[1]["held_out_pairs"]


def test_a_whole_run_is_not_learnt_again(aligned, config, monkeypatch):
    monkeypatch.setattr(align_task, "train", None)
    summary = align(aligned[0], config, say=quiet, resume=True)
    assert summary["held_out_pairs"] == aligned[1]["held_out_pairs"]


def test_another_reference_gives_the_margin_at_the_start(aligned, folder, config):
    """With what was aligned as the reference, the start lags behind it."""
    phase = dataclasses.replace(PHASE, num_steps=1)
    other = dataclasses.replace(
        config, reference=str(aligned[0] / "model"), phase=phase, evaluate_every=1
    )
    summary = align(folder / "other", other, say=quiet)
    before, there = (
        summary["held_out_pairs"]["before"],
        aligned[1]["held_out_pairs"]["after"],
    )
    assert before["reward_margin"] == pytest.approx(-there["reward_margin"], rel=1e-3)
    assert before["reward_accuracy"] == 0


def test_a_reference_of_other_tokens_is_refused(config, tmp_path, vision_model):
    save_model(vision_model, tmp_path / "reference")
    changed = dataclasses.replace(config, reference=str(tmp_path / "reference"))
    with pytest.raises(InputError, match="expected the policy's tokens, got .* tiles"):
        align(tmp_path / "out", changed, say=quiet)
    assert not (tmp_path / "out").exists()


def test_pairs_that_do_not_fit_are_refused_or_skipped_and_counted(
    folder, config, tmp_path
):
    rows = (folder / "pairs.jsonl").read_text()
    long = {"prompt": "7", "chosen": "8", "rejected": "9, that is, " * 40}
    data = tmp_path / "pairs.jsonl"
    data.write_text(rows + json.dumps(long) + "\n")
    changed = dataclasses.replace(config, preferences=str(data))
    with pytest.raises(InputError, match="id 25: prompt: expected at most"):
        align(tmp_path / "out", changed, say=quiet)
    assert not (tmp_path / "out").exists()
    short = dataclasses.replace(PHASE, row_length=12)
    changed = dataclasses.replace(config, phase=short)
    with pytest.raises(InputError, match="expected at most row_length=12 tokens with"):
        align(tmp_path / "out", changed, say=quiet)


def test_questions_are_held_out_by_lot_and_whole():
    def pairs(names):
        return [Preference(str(n), q, "a", (), rejected="b") for n, q in names]

    many = pairs((n, f"q{n % 40}") for n in range(80))
    out = hold_out(many, 0.25, seed=0)
    assert out[:40] == out[40:]
    assert out[:40].count(True) == 10
    assert out != hold_out(many, 0.25, seed=1)
    # The lot of the others is the same where one is left out.
    fewer = hold_out(many[1:40], 0.25, seed=0)
    assert sum(a != b for a, b in zip(out[1:40], fewer, strict=True)) <= 1
    assert hold_out(many, 0, seed=0) == [False] * 80
    assert sorted(hold_out(many[:2], 0.9, seed=0)) == [False, True]
    with pytest.raises(InputError, match="two questions at least to hold one out"):
        hold_out(many[:1], 0.1, seed=0)


def test_measures_of_two_pairs_worked_by_hand():
    # Log-ratios: chosen 1 and 0, rejected -1 and 0. Reverse KL at β = 1/2: margins
    # 1/2 (1 + 1) = 1 and 0. Forward KL: 1/2 (-e^-1 + e^1) and 0.
    reference = [np.array([-1.0, -1.0], np.float32)] * 4
    policy = [np.array(each, np.float32) for each in ([-0.5, -0.5], [-1, -2])]
    policy += [reference[2], reference[3]]
    values = pair_values(policy, reference, REVERSE_KL, beta=0.5)
    found = measure_pairs(values, policy)
    assert found["reward_margin"] == pytest.approx(0.5)
    assert found["reward_accuracy"] == 0.75  # one right, one undecided
    assert found["loss"] == pytest.approx((np.log1p(np.exp(-1)) + np.log(2)) / 2)
    assert (found["chosen_log_ratio"], found["rejected_log_ratio"]) == (0.5, -0.5)
    # σ(1) = 0.731 and right; σ(0) = 1/2 and half right.
    error = (1 - 1 / (1 + np.exp(-1))) / 2
    assert found["preference_calibration_error"] == pytest.approx(error)
    # Per token: e^-0.5 = 0.607, likelier; e^-1 = 0.368, not likelier.
    error = (1 - np.exp(-0.5) + np.exp(-1)) / 2
    assert found["likelihood_calibration_error"] == pytest.approx(error)
    margin = pair_values(policy, reference, FORWARD_KL, beta=0.5)["reward_margin"]
    assert margin == pytest.approx([(np.exp(1) - np.exp(-1)) / 2, 0])


def test_intervals_are_over_questions_not_over_their_pairs():
    # Two questions, one of margin 1 and a thousand times -1: each is half of a draw.
    margins, names = [1.0] + [-1.0] * 1000, ["a"] + ["b"] * 1000
    found = pair_intervals(margins, names)
    assert found["reward_margin"] == (-1.0, 1.0)
    assert found["reward_accuracy"] == wilson_interval(1, 2)
    # A question that is half right: 0, 1/2 and 1 are the means of draws of two.
    found = pair_intervals([1.0, 1.0, -1.0], ["a", "b", "b"])
    assert found["reward_accuracy"] == (0.5, 1.0)
    assert pair_intervals([1.0, -1.0], ["a", "a"]) == {}  # of one question, no interval


def test_scores_of_other_weights_are_not_taken_for_the_references(
    folder, config, tmp_path, text_model
):
    policy = tmp_path / "policy"
    save_model(text_model, policy)
    changed = dataclasses.replace(config, policy=str(policy))

    def track(iterable, description, total, **options):
        if description == "f-DPO":
            raise Killed
        return iterable

    with pytest.raises(Killed):
        align(tmp_path / "out", changed, say=quiet, track=track)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, text_model.params)
    shutil.rmtree(policy)
    save_model(dataclasses.replace(text_model, params=doubled), policy)
    with pytest.raises(InputError, match="expected the reference whose scores are sto"):
        align(tmp_path / "out", changed, say=quiet, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"divergence": "alpha"}, r"alpha: expected a number in \(0, 1\), got none"),
        ({"alpha": 0.5}, "alpha: expected none for reverse-kl, got 0.5"),
        ({"divergence": "alpha", "alpha": 1.5}, "alpha: expected"),
        ({"divergence": "tv"}, "divergence: expected one of reverse-kl, forward-kl"),
        ({"beta": 0}, "beta: expected > 0, got 0"),
        ({"held_out": 1}, r"held_out: expected in \[0, 1\), got 1"),
        ({"own_answers": -1}, "own_answers: expected >= 0, got -1"),
        ({"evaluate_every": 0}, "evaluate_every: expected >= 1, got 0"),
    ],
)
def test_settings_out_of_their_range_are_refused(change, message, config):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **change)
    with pytest.raises(ValueError, match="pairs_per_question: expected >= 1, got 0"):
        MinedFrom("run", pairs_per_question=0)
