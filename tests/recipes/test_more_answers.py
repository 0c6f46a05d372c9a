"""Lessons, judges and findings by hand; a run from a finished one to its page."""

import dataclasses
import math
import zlib

import numpy as np
import pytest
from PIL import Image

from sophia_jax.cli.main import main
from sophia_jax.config import SamplingConfig
from sophia_jax.data.items import write_items
from sophia_jax.evaluation.predictions import read_predictions
from sophia_jax.evaluation.turning_point import turning_point
from sophia_jax.models.folder import save_model
from sophia_jax.recipes.more_answers import run as recipe
from sophia_jax.recipes.more_answers.answers import find_run, some_of
from sophia_jax.recipes.more_answers.findings import (
    different_texts,
    references,
)
from sophia_jax.recipes.more_answers.judges import (
    likes_short_answers,
    scores_of,
    with_noise,
)
from sophia_jax.recipes.more_answers.lessons import learn_to_judge, marked_pairs
from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig, quick_size
from sophia_jax.rewards import Verdict
from sophia_jax.types import InputError, Item
from sophia_jax.viz.pages import write_page

TINY = MoreAnswersConfig(
    questions=8,
    num_answers=4,
    train_questions=8,
    train_answers=6,
    sampling=SamplingConfig(8),
    passes=1,
    fit_samples=2,
    num_resamples=5,
    questions_per_shard=4,
    row_length=64,
    slots=8,
)


def row(question, verdict, response="1", reason="stop", **more):
    return {
        **{"question_id": question, "question": "Sum?", "response": response},
        **{"verdict": verdict, "finish_reason": reason},
        **more,
    }


def test_each_wrong_answer_learns_beside_a_right_one_to_its_question():
    rows = [row("a", "right", str(n)) for n in range(5)]
    rows += [row("a", "wrong", f"w{n}") for n in range(2)]
    rows += [row("b", "right", "b"), *(row("b", "wrong", f"x{n}") for n in range(9))]
    rows += [row("c", "wrong", "c"), row("d", "right", "d")]  # nothing beside them
    rows += [row("b", "wrong", "cut", "length"), row("b", "undecided", "odd")]
    pairs = marked_pairs(rows, most=3, seed=0)
    assert {(r["verdict"], w["verdict"]) for r, w in pairs} == {("right", "wrong")}
    assert all(r["question_id"] == w["question_id"] for r, w in pairs)
    wrong = sorted(w["response"] for _, w in pairs)
    assert wrong[:2] == ["w0", "w1"] and len(set(wrong[2:])) == 3 == len(wrong[2:])
    assert marked_pairs(rows, most=3, seed=0) == pairs
    assert marked_pairs(rows, most=3, seed=1) != pairs


def test_where_there_is_nothing_to_tell_apart_nobody_learns():
    rows = [row("a", "right")] * 9 + [row("a", "wrong")] * 3 + [row("b", "wrong")] * 9
    with pytest.raises(InputError, match="at least 4 wrong answers beside right ones"):
        marked_pairs(rows, most=8, seed=0)


def test_a_held_out_answer_is_no_lesson(vision_model, tmp_path):
    taught = [Item("train-0", "Sum?", "1", ("a.png",))]
    pairs = [(row("train-0", "right"), row("held-out-0", "wrong"))]
    with pytest.raises(ValueError, match=r"training questions, got 'held-out-0'"):
        learn_to_judge(vision_model, taught, pairs, TINY.lessons(1), tmp_path)


def test_noise_is_as_wide_as_scores_of_one_question_and_leaves_what_is_missing():
    # Two of a question are 2 apart, so that they deviate by 1; questions differ more.
    question = np.arange(20_000) // 2
    scores = np.where(np.arange(20_000) % 2, 1.0, -1.0) + 100.0 * (question % 7)
    scores[[8, 9]] = math.nan
    noise = with_noise(scores, question, size=1.5, seed=0) - scores
    assert np.flatnonzero(np.isnan(noise)).tolist() == [8, 9]
    np.testing.assert_allclose(np.nanstd(noise), 1.5, rtol=0.02)
    assert abs(np.nanmean(noise)) < 0.05
    again = with_noise(scores, question, size=1.5, seed=0) - scores
    np.testing.assert_array_equal(noise, again)


def test_the_misleading_judge_takes_what_it_is_told_for_each_token():
    found = likes_short_answers(
        np.array([2.0, 1.0, math.nan]), np.array([50, 44, 3]), liking=0.25
    )
    np.testing.assert_allclose(found, [2.0 - 12.5, 1.0 - 11.0, math.nan])


def test_a_judge_that_says_nothing_of_an_answer_says_nothing_by_any_name():
    rows = [{"score": s, "num_tokens": 3, "question_id": "a"} for s in (None, 1.0)]
    for name in ("good", "noisy", "misleading"):
        assert np.isnan(scores_of(name, rows, TINY)).tolist() == [True, False]


def test_the_loss_counts_from_the_k_that_was_foretold():
    accuracy = np.array([[0.5, 1.0, 0.75, 0.5], [0.5, 0.5, 0.75, 0.25]])
    draws = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    found = turning_point(accuracy, draws, (1, 2, 4, 8), 5)
    assert found["measured"] == 2 and found["measured_interval"] == [2, 4]
    assert found["at"] == 4 and found["loss"] == 0.375
    np.testing.assert_allclose(found["loss_interval"], [0.25625, 0.49375])
    for never in (None, 8, 30):
        assert turning_point(accuracy, draws, (1, 2, 4, 8), never)["loss"] is None
    rising = turning_point(np.sort(accuracy, axis=1), draws, (1, 2, 4, 8), None)
    assert rising["measured"] is None


def test_a_judge_that_had_nothing_to_tell_apart_is_no_failure():
    found = {
        "measures": {"concordance": None},
        "curves": [{"k": [1, 4], "measured": [1.0, 1.0]}],
        "best_num_samples": [{"predicted": None, "measured": None}],
    }
    assert recipe._line(found).startswith("concordance –; best of 4: 100.0% right")


def test_references_are_of_the_answers_alone():
    questions = [
        [row("a", v, extracted=e) for v, e in (("right", "1"), ("wrong", "2"))] * 2,
        [row("b", "right", extracted="3")] * 4,
    ]
    found = references(questions, (1, 2, 4))
    np.testing.assert_allclose(found["pass"], [0.75, (5 / 6 + 1) / 2, 1.0])
    assert found["majority"][0] == 0.75 and len(found["majority"]) == 3


def test_a_text_counts_once_however_often_it_comes():
    questions = [
        [row("a", "right", "1")] * 3 + [row("a", "wrong", each) for each in "234"],
        [row("b", "wrong", "5"), row("b", "right", "1"), row("b", "right", "1.0")],
    ]
    assert different_texts(questions) == {"right": 1.5, "wrong": 2.0}


def test_numbers_of_answers_that_are_looked_at_end_with_all_of_them():
    assert dataclasses.replace(TINY, num_answers=20).ks == (
        1,
        2,
        3,
        4,
        6,
        8,
        12,
        16,
        20,
    )
    assert quick_size(MoreAnswersConfig()).ks == (1, 2, 3, 4, 6, 8)


@pytest.fixture(scope="module")
def finished(vision_model, tmp_path_factory):
    """What a quickstart leaves, as far as it is looked at."""
    folder = tmp_path_factory.mktemp("finished")
    save_model(vision_model, folder / "model")
    rng = np.random.default_rng(0)
    for split, number in (("train", 8), ("held_out", 9)):
        questions = [
            (
                Item(f"{split}-{n}", "Sum?", str(n), (), kind="sum"),
                Image.fromarray(rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)),
            )
            for n in range(number)
        ]
        write_items(folder / "data" / split, questions)
    return folder


class CoinVerifier:
    """Calls about half of the answers right, by what they say."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def verify(self, pairs):
        return [
            Verdict.RIGHT if zlib.crc32(text.encode()) % 2 else Verdict.WRONG
            for text, _ in pairs
        ]


@pytest.fixture(scope="module")
def whole(finished, tmp_path_factory):
    """A run, and the folder that it left."""
    folder = tmp_path_factory.mktemp("more_answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "AnswerVerifier", CoinVerifier)
        summary = recipe.run_more_answers(folder, finished, TINY)
    return folder, summary


def test_a_run_leaves_three_judges_of_the_same_answers(whole):
    folder, summary = whole
    tables = {
        name: read_predictions(folder / "judges" / name / "predictions.parquet")
        for name in ("good", "noisy", "misleading")
    }
    for rows in tables.values():
        assert len(rows) == 8 * 4
        assert all(each["question_id"].startswith("held_out-") for each in rows)
    for good, other in zip(tables["good"], tables["misleading"], strict=True):
        assert good["response"] == other["response"]
        if good["score"] is not None:
            shorter = good["score"] - other["score"]
            assert math.isclose(shorter, TINY.liking * good["num_tokens"])
    assert summary["judge"]["pairs"] >= 4
    assert 1 <= summary["judge"]["questions"] <= TINY.train_questions
    assert summary["judges"]["good"]["num_questions"] == [4, 4]
    assert len(summary["references"]["pass"]) == len(TINY.ks)


def test_the_judge_learns_from_training_questions_alone(whole):
    folder, summary = whole
    shards = sorted((folder / "answers" / "train").glob("*/predictions.parquet"))
    taught = {r["question_id"] for path in shards for r in read_predictions(path)}
    assert len(taught) == TINY.train_questions
    assert all(name.startswith("train-") for name in taught)
    assert summary["judge"]["answers"] == TINY.train_questions * TINY.train_answers


def test_a_run_goes_on_where_it_was_ended(whole, finished, monkeypatch):
    folder, summary = whole
    (folder / "summary.json").unlink()
    (folder / "scores" / "000004" / "summary.json").unlink()

    def never(*_, **__):
        raise AssertionError("made again")

    monkeypatch.setattr(recipe, "answer_questions", never)
    monkeypatch.setattr(recipe, "learn_to_judge", never)
    again = recipe.run_more_answers(folder, finished, TINY)
    for name in ("judges", "references", "judge"):
        assert again[name] == summary[name]


def test_the_page_shows_each_judge_at_each_temperature(whole):
    folder, _ = whole
    page = write_page(folder).read_text()
    assert page.count("<svg ") == 3 * len(TINY.temperatures)
    for name in ("Good", "Noisy", "Misleading"):
        assert f"<h3>{name}</h3>" in page
    assert "http" not in page.replace("http://www.w3.org", "").split("<main>")[1]
    assert write_page(folder).read_text() == page
    (folder / "summary.json").write_text('{"kind": "more_answers"}')
    with pytest.raises(InputError, match="expected the summary of `sophia-jax scale`"):
        write_page(folder)


def test_the_forecast_of_an_evaluation_is_a_command(whole, tmp_path, capsys):
    folder, _ = whole
    command = ["scale", "--fit", str(folder / "judges" / "good")]
    command += ["--out", str(tmp_path / "fit"), "--fit-samples", "2"]
    assert main(command) == 0
    assert "best T     at k = 4: foretold" in capsys.readouterr().out
    page = (tmp_path / "fit" / "report.html").read_text()
    assert page.count("<svg ") == 2 and "What more answers would bring" in page
    assert main(command) == 2
    assert "--resume goes on with it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (["--run", "RUN", "--fit", "RUN"], "--run, --fit: expected one of them"),
        (["--run", "NONE"], "--run: expected the folder of a whole quickstart, got"),
        (["--fit", "NONE"], "expected the answers of an evaluation, got no file"),
        (["--run", "RUN", "--draws", "7"], "--draws: expected none with --run"),
        (["--fit", "RUN", "--answers", "7"], "--answers: expected none with --fit"),
        (["--fit", "RUN", "--quick"], "--quick: expected none with --fit"),
        (["--answers", "7"], "--answers: expected with --run or --fit alone"),
        (["--run", "RUN", "--held-out", "7"], "questions: expected >= 8, got 7"),
        (["--run", "RUN", "--held-out", "10"], "questions: expected at most the 9"),
        (["--run", "RUN", "--answers", "4"], "fit_samples: expected at most num_ans"),
        (["--run", "RUN", "--answer-temperature", "-1"], "temperature: expected >= 0"),
        (["--run", "RUN", "--train-answers", "0"], "train_answers: expected >= 1"),
        (
            ["--run", "RUN", "--score-temperatures", "-1"],
            "temperatures: expected at least one, each >= 0",
        ),
    ],
)
def test_what_cannot_be_run_is_one_line(given, rule, finished, tmp_path, capsys):
    names = {"RUN": str(finished), "NONE": str(tmp_path)}
    given = [names.get(each, each) for each in given]
    assert main(["scale", "--out", str(tmp_path / "out"), *given]) == 2
    error = capsys.readouterr().err
    assert rule in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_question_of_both_kinds_is_refused(finished, tmp_path):
    (tmp_path / "model").symlink_to(finished / "model")
    for split in ("train", "held_out"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / split).symlink_to(finished / "data" / "held_out")
    with pytest.raises(InputError, match="expected no training question"):
        find_run(tmp_path)


def test_questions_are_drawn_by_the_seed_and_stay_in_order():
    items = [Item(str(n), "", "", ()) for n in range(30)]
    some = some_of(items, 12, seed=3)
    assert [int(i.id) for i in some] == sorted({int(i.id) for i in some})
    assert some == some_of(items, 12, seed=3)
    assert some != some_of(items, 12, seed=4)
