"""The comparison through the console script, with models that know nothing."""

import json
import re
import shutil

import pytest

from sophia_jax.evaluation.predictions import PREDICTIONS, read_predictions
from sophia_jax.models.folder import save_model
from sophia_jax.recipes.compare import laboratory, learning, run
from sophia_jax.recipes.compare.sizes import tiny_size
from sophia_jax.recipes.handwriting import make_data
from sophia_jax.rewards import Verdict

COLUMNS = PREDICTIONS.names
ARMS = {"base", "sophia", "keep-2", "sophia-grpo", "sophia-f-dpo-reverse-kl"}


class Lenient:
    """Takes every second answer for right, whatever it says."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def verify(self, pairs):
        verdicts = (Verdict.RIGHT, Verdict.WRONG)
        return [verdicts[len(text) % 2] for text, _ in pairs]


@pytest.fixture
def laboratories(monkeypatch, vision_model, text_model, tmp_path):
    """Models that were not trained, since that takes a minute; pictures drawn once."""

    def models(folder, builder, config, sizes, track):
        for name in ("pretrained", "base"):
            if not (folder / name).exists():
                save_model(vision_model, folder / name)
        return {
            "pretrained": vision_model,
            "base": vision_model,
            "reasoner": text_model,
        }

    first = tmp_path / "data"

    def data(folder, config):
        if not folder.exists() and first.exists():
            shutil.copytree(first, folder)
        builder = make_data(folder, config)
        if not first.exists():
            shutil.copytree(folder, first)
        return builder

    monkeypatch.setattr(laboratory, "make_data", data)
    monkeypatch.setattr(laboratory, "_train_models", models)
    monkeypatch.setattr(run, "AnswerVerifier", Lenient)


def results(folder):
    """What the run came to, but for time and for where the pictures lie."""
    summary = json.loads((folder / "summary.json").read_text())
    del summary["seconds"]
    answers = {
        path.parts[-3]: read_predictions(path, [n for n in COLUMNS if n != "image"])
        for path in folder.glob("seed-*/arms/*/evaluation/predictions.parquet")
    }
    weights = {
        path.parts[-3]: path.read_bytes()
        for path in folder.glob("seed-*/arms/*/model/model.safetensors")
    }
    return summary, answers, weights


def test_a_killed_comparison_goes_on_and_ends_with_the_same_bytes(
    cli, laboratories, tmp_path, monkeypatch
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = ("compare", "--tiny", "--seeds", 1, "--out")
    code, printed, errors = cli(*command, whole)
    assert (code, errors) == (0, [])
    summary, answers, weights = results(whole)
    assert set(summary["arms"]) == set(answers) == {*weights, "base"} == ARMS
    assert len(set(weights.values())) == len(weights)
    assert summary["missing"] in "\n".join(printed)
    sophia, both = (summary["arms"][name]["learnt"][0] for name in ("sophia", "keep-2"))
    assert sophia["questions"] == sophia["trajectories"] == both["questions"]
    assert both["trajectories"] > sophia["trajectories"]
    first = summary["claims"][0]
    assert (first["paper"], first["verdict"]) in (
        ([46.28, 55.13], verdict) for verdict in ("agrees", "disagrees", "not decided")
    )

    page = (whole / "report.html").read_text()
    assert page.count("<svg role=") == 1  # there is no axis with two arms
    assert "46.28 → 55.13" in page and "keep-2" in page
    (whole / "report.html").unlink()
    assert cli("report", whole)[0] == 0
    assert (whole / "report.html").read_text() == page

    update = learning.update_policy

    def die(*arguments, **options):
        update(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learning, "update_policy", die)
        code, _, errors = cli(*command, killed)
    assert (code, errors) == (
        130,
        ["sophia-jax: interrupted; the same command with --resume goes on"],
    )
    assert not (killed / "summary.json").exists()
    assert cli(*command, killed)[0] == 2
    code, printed, errors = cli(*command, killed, "--resume")
    assert (code, errors) == (0, [])
    assert results(killed) == (summary, answers, weights)
    assert any(re.search(r"0 to come, about 0 min", line) for line in printed)

    monkeypatch.setattr(learning, "update_policy", None)  # nothing is learnt again
    assert cli(*command, killed, "--resume")[0] == 0
    assert results(killed) == (summary, answers, weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", 0), "--seeds: expected >= 1, got 0"),
        (("--quick", "--tiny"), "--quick, --tiny: expected one of them, got both"),
        (("--arms", "base", "ppo"), "got ppo"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(cli, options, message, tmp_path):
    code, _, errors = cli("compare", *options, "--out", tmp_path / "out")
    assert code == 2
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_run_of_another_size_is_not_gone_on_with(cli, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text(json.dumps({"name": "quick"}))
    code, _, errors = cli("compare", "--tiny", "--out", out, "--resume")
    assert code == 2
    assert "name was quick, is tiny" in errors[0]


def test_sizes_that_are_not_whole_say_what_they_lack():
    assert tiny_size().missing
