"""Every kind of run has its page, and what is no run is refused in one line."""

import json
from dataclasses import asdict

import pytest

from sophia_jax.cli.main import main
from sophia_jax.recipes.compare.sizes import tiny_size as tiny_comparison
from sophia_jax.recipes.frontier.sizes import FrontierConfig
from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig
from sophia_jax.recipes.regret.sizes import RegretConfig
from sophia_jax.recipes.scale.sizes import ScaleConfig
from sophia_jax.recipes.sizes import tiny_size
from sophia_jax.types import InputError
from sophia_jax.viz.pages import write_page


def test_an_evaluation_has_scores_with_intervals_a_curve_and_its_answers(evaluation):
    page = write_page(evaluation).read_text()
    # 1 and 3 of 4 right; a pair holds a right one in 1/2 and in all of the cases.
    for words in ("50.0\u00a0%", "75.0\u00a0%", "pass@4", "bootstrap", "best-of-k@2"):
        assert words in page
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page
    assert page.count("<svg role=") == 1
    assert '"words":"3 of 4 answers right"' in page
    assert "No times yet" not in page
    assert write_page(evaluation).read_text() == page


def test_an_evaluation_that_has_not_ended_is_refused(evaluation):
    (evaluation / "config.json").write_text('{"pass_k": [1]}')
    (evaluation / "predictions.parquet").unlink()
    (evaluation / "summary.json").unlink()
    with pytest.raises(InputError, match="expected an evaluation that has ended, got"):
        write_page(evaluation)


@pytest.mark.parametrize(
    "settings",
    [
        *(tiny_comparison(), FrontierConfig(), RegretConfig(), ScaleConfig()),
        *(MoreAnswersConfig(), {"fit": "runs/evaluation", "seed": 0}),
    ],
)
def test_a_run_whose_page_is_of_its_summary_has_to_end(tmp_path, settings):
    settings = settings if isinstance(settings, dict) else asdict(settings)
    (tmp_path / "config.json").write_text(json.dumps(settings, default=str))
    (tmp_path / "training" / "sophia").mkdir(parents=True)
    rule = r"expected a run that has ended, got no summary\.json"
    with pytest.raises(InputError, match=rule):
        write_page(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_run_of_the_algorithm_has_a_page_before_it_has_ended(tmp_path):
    settings = json.dumps(asdict(tiny_size(seed=0)), default=str)
    (tmp_path / "config.json").write_text(settings)
    assert "<html" in write_page(tmp_path).read_text()


@pytest.mark.parametrize(
    "content", ["{", '{"pass@1": 1}', '{"intervals": {"pass@1": [0, 1]}}']
)
def test_a_damaged_summary_of_an_evaluation_is_one_line(evaluation, content, capsys):
    (evaluation / "summary.json").write_text(content)
    assert main(["report", str(evaluation)]) == 2
    line = capsys.readouterr().err.strip()
    assert "summary.json: expected " in line and "\n" not in line


def test_on_policy_learning_is_shown_by_its_first_and_last_steps(tmp_path):
    steps = {"first_steps": {"reward": 0.125}, "last_steps": {"reward": 0.75}}
    (tmp_path / "summary.json").write_text(json.dumps({"grpo": steps}))
    page = write_page(tmp_path).read_text()
    assert "12.5\u00a0%" in page and "75.0\u00a0%" in page
    (tmp_path / "summary.json").unlink()
    metrics = tmp_path / "training" / "grpo"
    metrics.mkdir(parents=True)
    (metrics / "metrics.jsonl").write_text('{"step": 0, "reward": 0.5}\n')
    page = write_page(tmp_path).read_text()
    assert "No steps yet" in page and page.count("<svg role=") == 1


def test_a_folder_that_is_no_run_is_refused_with_what_was_looked_for(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("")
    assert main(["report", str(tmp_path)]) == 2
    line = capsys.readouterr().err.strip()
    assert "expected the folder of a run, with config.json, summary.json, " in line
    assert "or predictions.parquet; got none of them" in line and "\n" not in line
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(InputError, match="nowhere: expected a run folder, got none"):
        write_page(tmp_path / "nowhere")


def test_the_command_says_where_the_page_is_and_how_large(run_folder, capsys):
    assert main(["report", str(run_folder)]) == 0
    assert capsys.readouterr().out == (
        f"report     {run_folder / 'report.html'} (0.1 MiB)\n"
    )
    for size in ("0", "inf", "nan"):
        assert main(["report", str(run_folder), "--max-mib", size]) == 2
        error = capsys.readouterr().err
        assert f"max_mib: expected a number > 0, got {size}" in error


def test_what_does_not_fit_is_left_out_and_said(run_folder):
    page = write_page(run_folder, max_mib=0.012).read_text()
    assert "2 of 3 questions are in this page: more would not fit into 0.012" in page
    assert "are in this page" not in write_page(run_folder).read_text()
