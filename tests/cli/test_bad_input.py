"""Bad input is one line that names file, field and value, and leaves nothing behind."""

import errno
import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
from PIL import Image

COMMANDS = ["collect", "evaluate"]


@pytest.fixture(params=COMMANDS)
def refused(request, cli, collecting, evaluating, tmp_path):
    """Runs a command that is refused; gives its one line."""
    options = {"collect": collecting, "evaluate": evaluating}[request.param]

    def run(*changes):
        out = tmp_path / "out"
        code, _, errors = cli(request.param, *options, "--out", out, *changes)
        assert code == 2
        assert len(errors) == 1
        assert errors[0].startswith("sophia-jax: error: ")
        assert not out.exists()
        return errors[0]

    return run


@pytest.fixture
def policy(models, tmp_path):
    """A copy of the policy's folder, and what sets values of its configuration."""
    folder = tmp_path / "policy"
    shutil.copytree(models / "policy", folder)

    def change(**values):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        for name, value in values.items():
            part = config if name in config else config["text_config"]
            part[name] = value
        path.write_text(json.dumps(config))

    return folder, change


def test_a_missing_picture(refused, questions):
    picture = questions.parent / "images" / "2.png"
    picture.unlink()
    line = refused()
    assert f"{questions}:3: image: expected a readable picture" in line
    assert str(picture) in line


def test_a_corrupt_picture(refused, questions):
    picture = questions.parent / "images" / "2.png"
    picture.write_bytes(picture.read_bytes()[:60])
    assert f"{questions}:3: image: expected a readable picture" in refused()


def test_an_unreadable_row(refused, questions):
    questions.write_text(questions.read_text() + '{"id": \n')
    assert f"{questions}:7: row: expected a JSON object, got '{{\"id\":'" in refused()


def test_a_missing_question_file(refused, tmp_path):
    line = refused("--data", tmp_path / "none.jsonl")
    assert f"{tmp_path / 'none.jsonl'}: expected an items.jsonl file" in line


def test_a_prompt_that_is_longer_than_the_model_allows(refused, questions, change_row):
    change_row(4, question="Why? " * 200)
    line = refused()
    assert f"{questions}: id q4: prompt: expected at most 256 tokens" in line
    assert "--skip-bad-rows" in line


def test_prompts_of_which_none_fits_are_no_run_even_when_skipped(refused, questions):
    line = refused("--prompts", "paper", "--skip-bad-rows")
    assert f"{questions}: expected a row that fits, got 6 that do not" in line


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--temperature", -1, "temperature: expected >= 0, got -1.0"),
        ("--top-p", 0, "top_p: expected in (0, 1], got 0.0"),
        ("--limit", 0, "limit: expected >= 1, got 0"),
        ("--slots", 0, "slots: expected >= 1, got 0"),
        ("--max-caption-tokens", 0, "max_new_tokens: expected > 0, got 0"),
    ],
)
def test_a_setting_out_of_its_range(option, value, rule, refused):
    assert rule in refused(option, value)


MODEL = {"collect": "--policy", "evaluate": "--model"}


@pytest.fixture
def refused_model(refused, request, policy):
    """Runs the command on the copy of the policy."""
    option = MODEL[request.node.callspec.params["refused"]]
    return lambda folder=policy[0]: refused(option, folder)


def test_an_unknown_model_type(refused_model, policy):
    folder, change = policy
    change(model_type="llava")
    line = refused_model()
    assert f"{folder}/config.json: model_type: expected 'internvl'" in line
    assert "'llava'" in line


def test_a_configuration_that_contradicts_its_weights_in_two_places(
    refused_model, policy
):
    folder, change = policy
    change(intermediate_size=40, vocab_size=700)
    line = refused_model()
    assert line.startswith(f"sophia-jax: error: {folder}: ")
    assert "mlp.down_proj.weight: expected shape (32, 40), got (32, 48)" in line
    assert "embed_tokens.weight: expected shape (700, 32)" in line


def test_a_text_only_model_that_is_to_see(refused_model, models):
    line = refused_model(models / "reasoner")
    assert f"{models / 'reasoner'}: expected a vision-language model" in line


def test_a_model_that_is_not_there(refused_model, tmp_path):
    line = refused_model(tmp_path / "no model")
    assert f"{tmp_path / 'no model'}: expected a model folder" in line


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_exists(name, cli, collecting, evaluating, tmp_path, content):
    options = {"collect": collecting, "evaluate": evaluating}[name]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    for wish in ((), ("--resume",), ("--force",)):
        code, _, errors = cli(name, *options, "--out", tmp_path / "out", *wish)
        assert code == 2
        assert errors == [
            f"sophia-jax: error: --out: {tmp_path / 'out'} exists and holds no run; "
            "choose another"
        ]
    assert content(tmp_path / "out") == {"thesis.txt": b"mine"}


def test_resume_and_force_together(refused, tmp_path):
    assert "--resume, --force: expected one of them" in refused("--resume", "--force")


def test_no_space_for_a_table(cli, collecting, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # comes after the rows of a table alone
    out = tmp_path / "out"
    code, _, errors = cli("collect", *collecting, "--out", out)
    assert code == 2
    assert len(errors) == 1
    assert f"{out}/rollouts/captions/00000-of-00001.parquet" in errors[0]
    assert "No space left on device" in errors[0]
    assert not list((out / "rollouts").rglob("*.parquet*"))
    assert not (out / "summary.json").exists()


def test_no_space_for_predictions(cli, evaluating, tmp_path, monkeypatch):
    def full(writer, table, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    out = tmp_path / "out"
    code, _, errors = cli("evaluate", *evaluating, "--out", out)
    assert code == 2
    assert len(errors) == 1
    assert f"error: {out}" in errors[0]
    assert errors[0].endswith("no space left on device")
    assert not (out / "summary.json").exists()


def test_an_unfinished_collection_is_not_learnt_from(cli, tmp_path):
    code, _, errors = cli("update", "--run", tmp_path / "none")
    assert code == 2
    assert f"{tmp_path}/none/config.json: expected a collection's settings" in errors[0]


def test_a_report_of_no_run(cli, tmp_path):
    code, _, errors = cli("report", tmp_path / "none")
    assert code == 2
    assert errors == [
        f"sophia-jax: error: {tmp_path / 'none'}: expected a run folder, got none"
    ]


def test_an_animation_of_which_the_frame_is_cut_is_still_one_line(refused, questions):
    picture = questions.parent / "images" / "2.png"
    frames = [Image.new("P", (8, 8), color) for color in (0, 1)]
    frames[0].save(picture, format="GIF", save_all=True, append_images=frames[1:])
    picture.write_bytes(picture.read_bytes()[:40])
    assert "image: expected a readable picture" in refused()
