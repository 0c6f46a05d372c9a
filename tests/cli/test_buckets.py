"""The whole loop with every path in a bucket, through the console script."""

import json
import shutil

import pytest

IN_BUCKET = "gs://bucket"


@pytest.fixture
def bucket(buckets, models, questions):
    """The folder beneath `gs://bucket`, with models and questions in it."""
    folder = buckets.root / "bucket"
    shutil.copytree(models, folder / "models")
    shutil.copytree(questions.parent, folder / "questions")
    return folder


@pytest.fixture
def in_bucket(models, questions):
    """Options whose paths lead into the bucket, from those on the disk."""

    def translate(options):
        places = {models: "models", questions.parent: "questions"}
        texts = [str(option) for option in options]
        for place, name in places.items():
            texts = [text.replace(str(place), f"{IN_BUCKET}/{name}") for text in texts]
        return texts

    return translate


def without_time(content):
    """The files of a run that are the same each time."""
    changing = ("seconds.json", "summary.json", "programs.json", "config.json")
    changing += ("report.html",)
    return {
        name: bytes_
        for name, bytes_ in content.items()
        if not name.endswith(changing)
        and "tfevents" not in name
        and "checkpoints" not in name
        and "metrics" not in name
    }


def test_the_loop_in_a_bucket_is_that_on_the_disk(
    cli, bucket, collecting, in_bucket, lenient, tmp_path, content
):
    learning = ("--num-steps", 2, "--batch-size", 2)
    collecting = (*collecting, "--questions-per-shard", 2)
    code, _, errors = cli("collect", *collecting, "--out", tmp_path / "run")
    assert (code, errors) == (0, [])
    cli("update", "--run", tmp_path / "run", *learning)

    run = f"{IN_BUCKET}/run"
    code, printed, errors = cli("collect", *in_bucket(collecting), "--out", run)
    assert (code, errors) == (0, [])
    assert f"report     {run}/report.html" in printed
    code, _, errors = cli("collect", *in_bucket(collecting), "--out", run)
    assert (code, len(errors)) == (2, 1)
    assert f"{run} exists; --resume goes on with it" in errors[0]
    code, printed, errors = cli("update", "--run", run, *learning)
    assert (code, errors) == (0, [])
    assert f"model      {run}/model" in printed
    shutil.rmtree(bucket / "run" / "model")  # as if it had been killed before
    code, _, errors = cli("update", "--run", run, *learning, "--resume")
    assert (code, errors) == (0, [])
    expected = without_time(content(tmp_path / "run"))
    assert without_time(content(bucket / "run")) == expected
    assert {"model/model.safetensors"} <= expected.keys()
    page = (bucket / "run" / "report.html").read_text()
    assert "data:image/" in page
    programs = json.loads((bucket / "run" / "programs.json").read_text())
    assert programs["number"] >= 0

    evaluating = ("--model", f"{run}/model", "--data", f"{IN_BUCKET}/questions")
    small = ("--prompts", "digits", "--slots", 32, "--max-new-tokens", 32)
    small = (*small, "--max-caption-tokens", 8)
    scores = f"{IN_BUCKET}/scores"
    evaluating = (*evaluating, *small, "--out", scores)
    code, _, errors = cli("evaluate", *evaluating)
    assert (code, errors) == (0, [])
    names = {path.name for path in (bucket / "scores").iterdir() if path.is_file()}
    assert {"predictions.parquet", "vlmevalkit.tsv", "summary.json"} <= names
    code, _, errors = cli("evaluate", *evaluating, "--resume")
    assert (code, errors) == (0, [])
    code, _, errors = cli("versus", scores, scores, "--out", f"{IN_BUCKET}/versus")
    assert (code, errors) == (0, [])
    summary = json.loads((bucket / "versus" / "summary.json").read_text())
    assert summary["num_questions"] == 6


def test_a_killed_collection_in_a_bucket_goes_on_and_ends_alike(
    cli, buckets, bucket, collecting, in_bucket, lenient, content
):
    options = (*in_bucket(collecting), "--questions-per-shard", 2)
    cli("collect", *options, "--out", f"{IN_BUCKET}/whole")
    buckets.writes_left = 4
    with pytest.raises(buckets.Killed):
        cli("collect", *options, "--out", f"{IN_BUCKET}/run")
    buckets.writes_left = None
    rollouts = content(bucket / "run" / "rollouts")
    expected = content(bucket / "whole" / "rollouts")
    assert 0 < len(rollouts) < len(expected)
    assert rollouts.items() <= expected.items()
    code, _, errors = cli("collect", *options, "--out", f"{IN_BUCKET}/run", "--resume")
    assert (code, errors) == (0, [])
    assert content(bucket / "run" / "rollouts") == expected


def test_convert_replaces_a_model_in_a_bucket_only_with_force(
    cli, buckets, bucket, models
):
    source, out = f"{IN_BUCKET}/models/policy", f"{IN_BUCKET}/converted"
    converting = ("convert", "--model", source, "--out", out)
    code, printed, errors = cli(*converting, "--to", "orbax")
    assert (code, errors) == (0, [])
    assert printed[-1].startswith(f"model      {out}, ")
    assert (bucket / "converted" / "model.json").is_file()
    code, _, errors = cli(*converting, "--to", "transformers")
    assert (code, errors) == (
        2,
        [f"sophia-jax: error: --out: {out} exists; --force replaces it"],
    )
    model_file = bucket / "converted" / "model.json"
    fresh = bucket / ".converted.new" / "model.safetensors"
    shutil.copytree(bucket / "converted", bucket / "kept")
    for writes in range(1, 60, 5):
        for name in ("converted", ".converted.new"):
            shutil.rmtree(bucket / name, ignore_errors=True)
        shutil.copytree(bucket / "kept", bucket / "converted")
        buckets.writes_left = writes
        try:
            code, _, errors = cli(*converting, "--to", "transformers", "--force")
            break
        except buckets.Killed:  # while the old one stands, or the new one is whole
            buckets.writes_left = None
            assert model_file.is_file() or fresh.is_file()
    assert (code, errors, writes > 9) == (0, [], True)
    buckets.writes_left = 2  # the next is killed, and the one after it ends alike
    with pytest.raises(buckets.Killed):
        cli(*converting, "--to", "transformers", "--force")
    buckets.writes_left = None
    code, _, errors = cli(*converting, "--to", "transformers", "--force")
    assert (code, errors) == (0, [])
    there = (bucket / "converted" / "model.safetensors").read_bytes()
    assert there == (models / "policy" / "model.safetensors").read_bytes()
    assert not model_file.exists()
    assert not list((bucket / ".converted.new").glob("*"))


@pytest.mark.parametrize("option", ["--out", "--policy", "--data"])
def test_a_bucket_that_is_not_there_is_one_line(
    cli, bucket, collecting, in_bucket, option
):
    options = (*in_bucket(collecting), "--out", f"{IN_BUCKET}/run")
    code, _, errors = cli("collect", *options, option, "gs://nowhere/at/all")
    assert (code, errors) == (
        2,
        [
            "sophia-jax: error: gs://nowhere: expected an open bucket, got: no "
            "bucket of this name"
        ],
    )
