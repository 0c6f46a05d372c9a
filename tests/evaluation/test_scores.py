"""Scores of several answers to a question, counted by hand and by part."""

import numpy as np
import pytest

from sophia_jax.evaluation.metrics import bootstrap_interval, wilson_interval
from sophia_jax.evaluation.summary import question_scores, summarize, usual_pass_k
from sophia_jax.types import InputError

# id: kind, level, answer, the four answers; what is written with ! was cut off.
QUESTIONS = {
    "q1": ("algebra", "2", "5", ["5", "5", "5.0", "6"]),
    "q2": ("algebra", "10", "1/2", ["7", "7", "0.5", None]),
    "q3": ("geometry", "2", "(B) 9", ["B", "C", "(C)", "5!"]),
    "q4": ("geometry", "10", "red", [None, None, None, None]),
}
RIGHT = {"q1": "1110", "q2": "0010", "q3": "1000", "q4": "0000"}


@pytest.fixture
def rows():
    return [
        {
            "question_id": name,
            "sample": sample,
            "kind": kind,
            "level": level,
            "answer": answer,
            "extracted": None if said is None or "!" in said else said,
            "verdict": "right" if RIGHT[name][sample] == "1" else "wrong",
            "caption_right": None,
            "num_tokens": 10 * sample,
            "finish_reason": "length" if said and "!" in said else "stop",
        }
        for name, (kind, level, answer, answers) in QUESTIONS.items()
        for sample, said in enumerate(answers)
    ]


def test_scores_counted_by_hand(rows):
    summary = summarize(rows, pass_k=(1, 2, 4))
    assert (summary["num_questions"], summary["num_samples"]) == (4, 4)
    assert summary["pass@1"] == pytest.approx((3 / 4 + 1 / 4 + 1 / 4) / 4)
    # Of six pairs without a right one: none, three, three, six.
    assert summary["pass@2"] == pytest.approx((1 + 1 / 2 + 1 / 2 + 0) / 4)
    assert summary["pass@4"] == pytest.approx(3 / 4)
    # q1: of six pairs, three are 5 5, three 5 6, half right each: 3/4 in all. q2: 7 7,
    # twice 7 0.5, twice 7 alone, once 0.5 alone: (2/2 + 1)/6. q3: C C, twice B C, twice
    # C alone, once B alone: the same.
    assert summary["majority@2"] == pytest.approx((3 / 4 + 1 / 3 + 1 / 3 + 0) / 4)
    # q1 by three to one; q2 and q3 are outvoted; q4 does not vote.
    assert summary["majority@4"] == 1 / 4
    assert summary["parsed"] == (4 + 3 + 3 + 0) / 16
    assert (summary["cut_off"], summary["undecided"]) == (1, 0)
    assert summary["mean_tokens"] == 15.0


def test_intervals_are_wilson_s_where_questions_are_right_or_wrong(rows):
    summary = summarize(rows, pass_k=(1, 4), seed=5)
    assert summary["interval_methods"] == {
        "pass@1": "bootstrap",
        "pass@4": "Wilson",
        "majority@4": "Wilson",
    }
    shares = np.array([0.75, 0.25, 0.25, 0.0])
    assert summary["interval"] == list(bootstrap_interval(shares, seed=5))
    assert summary["intervals"]["pass@1"] == summary["interval"]
    assert summary["intervals"]["pass@4"] == list(wilson_interval(3, 4))


def test_parts_are_scored_like_the_whole(rows):
    summary = summarize(rows, pass_k=(1, 4))
    assert {k: v["num_questions"] for k, v in summary["by_kind"].items()} == {
        "algebra": 2,
        "geometry": 2,
    }
    assert summary["by_kind"]["algebra"]["pass@1"] == 0.5
    assert summary["by_kind"]["geometry"]["pass@4"] == 0.5
    assert list(summary["by_level"]) == ["2", "10"]  # by number
    assert summary["by_level"]["2"]["majority@4"] == 0.5
    kinds = ["choice", "fraction", "integer", "text"]
    assert list(summary["by_answer_type"]) == kinds
    for field in ("by_kind", "by_level", "by_answer_type"):
        parts = summary[field].values()
        mean = sum(p["pass@1"] * p["num_questions"] for p in parts) / 4
        assert mean == pytest.approx(summary["pass@1"])


def test_questions_without_levels_have_no_scores_by_level(rows):
    assert "by_level" not in summarize([{**row, "level": ""} for row in rows])


def test_the_order_of_rows_does_not_matter(rows):
    assert summarize(rows[::-1], pass_k=(2, 3)) == summarize(rows, pass_k=(2, 3))


def test_one_sample_is_pass_at_1_alone(rows):
    first = [row for row in rows if row["sample"] == 0]
    summary = summarize(first)
    assert list(summary["intervals"]) == ["pass@1"]
    assert summary["pass@1"] == 0.5
    assert summary["interval"] == list(wilson_interval(2, 4))


def test_majority_of_one_is_pass_at_1(rows):
    questions = [[row for row in rows if row["question_id"] == q] for q in QUESTIONS]
    assert list(question_scores(questions, (1, 3))) == [
        "pass@1",
        "pass@3",
        "majority@3",
    ]


@pytest.mark.parametrize("k", [0, 5])
def test_k_outside_the_samples_is_refused(rows, k):
    with pytest.raises(InputError, match=f"pass_k: expected 1 to the 4 samples .* {k}"):
        summarize(rows, pass_k=(1, k))


@pytest.mark.parametrize(
    ("num_samples", "ks"),
    [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))],
)
def test_usual_ks_are_powers_of_two_and_all(num_samples, ks):
    assert usual_pass_k(num_samples) == ks
