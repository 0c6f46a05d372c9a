"""The loop on one's own models and questions, whatever the models answer."""

import json
import signal

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from sophia_jax.cli.evaluate import Evaluate
from sophia_jax.data.prompts import DIGITS, PAPER, encode_prompt
from sophia_jax.recipes import own_data
from sophia_jax.sophia import collect_rollouts
from sophia_jax.training import loop
from sophia_jax.training.step import train_step


def read_json(path):
    return json.loads(path.read_text())


def test_evaluate_leaves_predictions_and_a_summary(cli, evaluating, tmp_path):
    out = tmp_path / "out"
    code, printed, errors = cli("evaluate", *evaluating, "--out", out)
    assert (code, errors) == (0, [])
    summary = read_json(out / "summary.json")
    assert summary["num_questions"] == 6
    assert summary["skipped"] == 0
    assert summary["caption_accuracy"] is not None
    predictions = pq.read_table(out / "predictions.parquet").to_pylist()
    assert [row["question_id"] for row in predictions] == [f"q{i}" for i in range(6)]
    # The one row with a true caption has one of the model's, too.
    assert [row["caption"] is not None for row in predictions] == [True] + [False] * 5
    assert not (out / "skipped.txt").exists()
    assert f"{summary['pass@1']:.1%}" in "\n".join(printed)


def test_an_evaluation_has_the_system_prompt_unless_told_otherwise(tmp_path):
    def system(**options):
        return Evaluate("m", tmp_path, tmp_path, **options)._config().system

    assert system() == PAPER.system is not None
    assert system(prompts="digits") is DIGITS.system is None
    assert system(system_prompt="Think.") == "Think."
    assert system(system_prompt="none") is None


def test_evaluate_takes_the_first_rows_of_a_limit(cli, evaluating, tmp_path):
    cli("evaluate", *evaluating, "--out", tmp_path / "out", "--limit", 2)
    assert read_json(tmp_path / "out" / "summary.json")["num_questions"] == 2


def test_skipped_rows_are_counted_and_listed(cli, evaluating, change_row, tmp_path):
    change_row(1, answer="")
    change_row(3, question="Why? " * 200)
    out = tmp_path / "out"
    code, printed, _ = cli("evaluate", *evaluating, "--out", out, "--skip-bad-rows")
    assert code == 0
    assert read_json(out / "summary.json")["skipped"] == 2
    bad, long = (out / "skipped.txt").read_text().splitlines()
    assert "items.jsonl:2: answer: expected" in bad
    assert "id q3: prompt: expected at most 256 tokens" in long
    assert f"2 rows skipped, see {out / 'skipped.txt'}" in printed


def test_the_same_seed_gives_the_same_answers(cli, evaluating, tmp_path, content):
    for name in ("one", "two"):
        cli("evaluate", *evaluating, "--out", tmp_path / name, "--limit", 2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_collection_that_kept_nothing_is_whole_but_updates_nothing(
    cli, collecting, change_row, tmp_path, content
):
    for row in range(6):
        change_row(row, answer="not what a model of random weights would say")
    run = tmp_path / "run"
    code, printed, errors = cli("collect", *collecting, "--out", run)
    assert (code, errors) == (0, [])
    assert "rollouts   12 captions, 48 reasonings" in "\n".join(printed)
    assert (run / "report.html").is_file()
    summary = read_json(run / "summary.json")
    assert summary["rollouts"]["kept"] == 0
    assert summary["settings"]["threshold"] == 0
    before = content(run)
    code, _, errors = cli("update", "--run", run)
    assert code == 2
    assert errors == [
        f"sophia-jax: error: {run}/rollouts/selection: expected a trajectory to learn "
        "from, got 0 of 6 questions kept (no right answer: 6); see "
        "docs/how-to/verification.md"
    ]
    assert content(run) == before


@pytest.fixture
def interruptible():
    """A process that is begun in the background of a shell ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_train_is_collect_then_update_killed_or_not(
    cli, collecting, lenient, interruptible, tmp_path, content, monkeypatch
):
    options = (*collecting, "--questions-per-shard", 2)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert cli("train", *options, "--out", whole)[0] == 0

    def interrupted(number):
        def collect(policy, reasoner, *others, **options):
            def reason(requests):
                yield next(reasoner(requests))
                signal.raise_signal(number)

            collect_rollouts(policy, reason, *others, **options)

        return collect

    def stopped(state, batch):
        signal.raise_signal(signal.SIGTERM)
        return train_step(state, batch)

    for number, expected in [(signal.SIGINT, 130), (signal.SIGTERM, 75)]:
        with monkeypatch.context() as patch:
            patch.setattr(own_data, "collect_rollouts", interrupted(number))
            code, _, errors = cli("collect", *options, "--out", killed, "--resume")
        assert code == expected, errors
        assert len(errors) == 1
    code, _, errors = cli("collect", *options, "--out", killed)
    assert code == 2
    assert "exists; --resume goes on with it" in errors[0]
    assert cli("collect", *options, "--out", killed, "--resume")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stopped)
        code, _, errors = cli("update", "--run", killed)
    assert code == 75
    assert errors == [
        "sophia-jax: stopped by SIGTERM; all that was whole is saved: the same command "
        "with --resume goes on"
    ]
    (killed / ".model.1.partial").mkdir()  # of a process that was killed at the end
    assert cli("update", "--run", killed, "--resume")[0] == 0
    assert not list(killed.glob(".model*"))
    for part in ("rollouts", "model"):
        assert content(whole / part) == content(killed / part)


def test_the_update_learns_all_that_was_kept_with_the_decoder_alone(
    cli, collecting, lenient, tmp_path, models
):
    out = tmp_path / "run"
    cli("train", *collecting, "--out", out, "--learning-rate", 0.01)
    summary = read_json(out / "summary.json")
    assert summary["update"]["trajectories"] == summary["rollouts"]["kept"] > 0
    # One pass over fewer than 512 trajectories is one update.
    assert summary["update"]["num_steps"] == 1
    assert summary["update"]["row_length"] % 64 == 0
    before = load_file(models / "policy" / "model.safetensors")
    after = load_file(out / "model" / "model.safetensors")
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed
    assert all(name.startswith("language_model") for name in changed)


def test_an_update_of_other_settings_is_not_resumed(cli, collecting, lenient, tmp_path):
    run = tmp_path / "run"
    cli("train", *collecting, "--out", run)
    assert cli("update", "--run", run, "--resume")[0] == 0
    code, _, errors = cli("update", "--run", run, "--resume", "--learning-rate", 1e-3)
    assert code == 2
    assert "learning_rate was 2e-05, is 0.001" in errors[0]
    assert cli("update", "--run", run)[0] == 2
    assert cli("update", "--run", run, "--force", "--learning-rate", 1e-3)[0] == 0


def test_a_warm_up_comes_before_the_captions(
    cli, collecting, lenient, tmp_path, questions
):
    out = tmp_path / "run"
    warm_up = ("--warm-up", questions, "--warm-up-num-steps", 2)
    code, _, errors = cli("train", *collecting, *warm_up, "--out", out)
    assert (code, errors) == (0, [])
    assert (out / "warm_up" / "model.safetensors").is_file()
    settings = read_json(out / "training" / "sophia" / "config.json")
    assert settings["policy"] == str(out / "warm_up")


def test_questions_that_changed_since_are_refused(
    cli, collecting, lenient, tmp_path, change_row
):
    run = tmp_path / "run"
    cli("collect", *collecting, "--out", run)
    change_row(0, question="And the product?")
    code, _, errors = cli("update", "--run", run)
    assert code == 2
    assert f"items.jsonl: expected the questions of {run}/config.json" in errors[0]


def test_a_caption_that_leaves_no_room_is_counted_not_fatal(
    cli, collecting, lenient, tmp_path, change_row, text_model
):
    # With an answer of 32 tokens and no caption, this prompt fills the context of 256.
    around = DIGITS.reasoner.format(caption="", question="")
    used = len(encode_prompt(text_model.tokenizer, text_model.config, around)) + 32
    change_row(0, question="a" * (256 - used))
    run = tmp_path / "run"
    code, _, errors = cli("collect", *collecting, "--out", run)
    assert (code, errors) == (0, [])
    rollouts = read_json(run / "summary.json")["rollouts"]
    assert rollouts["captions_too_long_for_reasoner"] in (1, 2)
    assert rollouts["reasonings"] == 48


@pytest.mark.parametrize("name", ["collect", "evaluate"])
def test_force_deletes_the_run_only_once_the_new_one_can_start(
    name, cli, collecting, evaluating, tmp_path, content
):
    options = {"collect": collecting, "evaluate": evaluating}[name]
    run = tmp_path / "run"
    cli(name, *options, "--out", run, "--limit", 2)
    before = content(run)
    model = {"collect": "--policy", "evaluate": "--model"}[name]
    code, _, _ = cli(name, *options, "--out", run, "--force", model, tmp_path / "none")
    assert code == 2
    assert content(run) == before
