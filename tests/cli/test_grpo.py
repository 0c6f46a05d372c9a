"""On-policy learning from the console: what it leaves, kills, and bad input."""

import json
import signal

import pytest

from sophia_jax.models.folder import load_model
from sophia_jax.recipes import grpo as recipe
from sophia_jax.rewards import Verdict
from sophia_jax.training import passes
from sophia_jax.training.metrics import read_metrics
from sophia_jax.training.step import train_step

SMALL = ("--prompts", "digits", "--slots", 8, "--max-new-tokens", 12)


@pytest.fixture
def learning(models, questions):
    """The options of a small on-policy run."""
    return (
        *("--policy", models / "policy", "--data", questions, *SMALL),
        *("--num-questions", 3, "--num-answers", 8, "--num-steps", 2),
        *("--learning-rate", 1e-3, "--checkpoint-every", 1),
    )


@pytest.fixture
def terse(monkeypatch):
    """Takes short answers for right, so that answers to a question differ."""

    class Terse:
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def verify(self, pairs):
            return [Verdict.RIGHT if len(t) < 4 else Verdict.WRONG for t, _ in pairs]

    monkeypatch.setattr(recipe, "AnswerVerifier", Terse)


def read_json(path):
    return json.loads(path.read_text())


def test_a_run_leaves_model_metrics_and_page_killed_or_not(
    cli, learning, terse, tmp_path, content, monkeypatch
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, printed, errors = cli("grpo", *learning, "--out", whole)
    assert (code, errors) == (0, [])
    learnt = read_json(whole / "summary.json")["grpo"]
    assert (learnt["num_steps"], learnt["answers_per_step"]) == (2, 24)
    assert f"{learnt['num_steps']} steps, {learnt['updates']} updates" in "\n".join(
        printed
    )
    rows = read_metrics(whole / "training" / "grpo" / "metrics.jsonl")
    assert learnt["first_steps"]["reward"] == rows[0]["reward"]
    assert learnt["last_steps"]["reward"] == rows[1]["reward"]
    assert all(0 < row["reward"] < 1 for row in rows)
    assert all(row["sampler_gap"] < 1e-4 for row in rows)  # pictures included
    assert "mean reward" in (whole / "report.html").read_text()
    assert load_model(whole / "model").tiles is not None

    def stopped(state, batch):
        signal.raise_signal(signal.SIGTERM)
        return train_step(state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(passes, "train_step", stopped)
        code, _, errors = cli("grpo", *learning, "--out", killed)
    assert code == 75
    assert "stopped by SIGTERM" in errors[0]
    assert not (killed / "model").exists()
    code, _, errors = cli("grpo", *learning, "--out", killed)
    assert code == 2
    assert "exists; --resume goes on with it" in errors[0]
    assert cli("grpo", *learning, "--out", killed, "--resume")[0] == 0
    assert content(killed / "model") == content(whole / "model")
    # What is finished is not run again.
    before = content(whole / "model"), rows
    assert cli("grpo", *learning, "--out", whole, "--resume")[0] == 0
    after = read_metrics(whole / "training" / "grpo" / "metrics.jsonl")
    assert (content(whole / "model"), after) == before


def test_adapters_learn_and_are_left_too(cli, learning, terse, tmp_path, models):
    options = ("--lora-rank", 2, "--kl", 0.1, "--advantage", "leave-one-out")
    options += ("--normalization", "length", "--num-steps", 1, "--temperature", 0.9)
    out = tmp_path / "out"
    code, printed, errors = cli("grpo", *learning, *options, "--out", out)
    assert (code, errors) == (0, [])
    assert "another distribution" in "\n".join(printed)
    assert (out / "adapters" / "adapter_config.json").is_file()
    assert load_model(out / "model").lora is None


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--temperature", 0), "temperature: expected > 0, for answers that differ"),
        (("--top-p", 0), "top_p: expected in (0, 1], got 0.0"),
        (("--num-answers", 1), "num_answers: expected >= 2, got 1"),
        (("--num-questions", 7), "num_questions: expected at most the 6 that there"),
        (("--num-steps", 0), "num_steps: expected >= 1, got 0"),
        (("--clip-low", -1), "clip_low: expected >= 0, got -1.0"),
        (("--kl", -1), "kl_coefficient: expected >= 0, got -1.0"),
        (("--micro-batches", 25), "micro_batches: expected <= 24"),
        (("--row-length", 20), "row_length: expected >= "),
        (("--max-new-tokens", 250), "prompt: expected at most 256 tokens"),
        (("--update-mesh", "fsdp=2"), "--policy-mesh: expected one beside"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(
    cli, learning, tmp_path, options, rule
):
    out = tmp_path / "out"
    code, _, errors = cli("grpo", *learning, *options, "--out", out)
    assert code == 2
    assert len(errors) == 1
    assert rule in errors[0]
    assert not out.exists()


def test_a_missing_picture_is_one_line(cli, learning, questions, tmp_path):
    (questions.parent / "images" / "2.png").unlink()
    code, _, errors = cli("grpo", *learning, "--out", tmp_path / "out")
    assert code == 2
    assert [f"{questions}:3: image: expected a readable" in e for e in errors] == [True]
