"""Outcomes and steps as scores of answers."""

import math
from types import SimpleNamespace

import pytest

from sophia_jax.rewards import outcome_judge, prefix_judge, process_judge
from sophia_jax.rewards.process import reduce_steps, split_steps


def test_outcomes_are_scores_and_the_undecided_has_none():
    def verify(pairs):
        return [SimpleNamespace(value=f"{said}/{right}") for said, right in pairs]

    named = {"x/1": "right", "y/1": "wrong", "z/2": "undecided"}

    def judged(pairs):
        return [SimpleNamespace(value=named[each.value]) for each in verify(pairs)]

    judge = outcome_judge(judged, {"q": "1", "r": "2"})
    right, wrong, undecided = judge([("q", "x"), ("q", "y"), ("r", "z")])
    assert (right, wrong) == (1.0, 0.0)
    assert math.isnan(undecided)
    with pytest.raises(KeyError):
        judge([("unknown", "x")])


@pytest.mark.parametrize(
    ("reduction", "score"), [("min", 0.25), ("product", 0.065), ("mean", 0.55)]
)
def test_steps_are_reduced(reduction, score):
    assert reduce_steps([0.5, 0.25, 0.8, 0.65], reduction) == pytest.approx(score)
    assert math.isnan(reduce_steps([0.5, math.nan], reduction))
    assert math.isnan(reduce_steps([], reduction))


def test_a_process_judge_reduces_the_scores_of_each_answer_s_steps():
    seen = []

    def score_steps(pairs):
        seen.extend(pairs)
        return [[0.1 * len(step) for step in steps] for _, steps in pairs]

    judge = process_judge(score_steps, reduction="product")
    scores = judge([("q", "<think>so</think>\n\naa\n\nbbbb"), ("r", "a\nbbb")])
    assert scores == pytest.approx([0.2 * 0.4, 0.1 * 0.3])
    assert seen == [("q", ["aa", "bbbb"]), ("r", ["a", "bbb"])]
    with pytest.raises(ValueError, match="reduction: expected one of min, product"):
        process_judge(score_steps, reduction="max")


def test_a_prefix_judge_asks_about_every_beginning():
    asked = []

    def judge(pairs):
        asked.extend(said for _, said in pairs)
        return [float(len(said)) for _, said in pairs]

    score_steps = prefix_judge(judge)
    assert score_steps([("q", ["a", "b"]), ("r", []), ("s", ["c"])]) == [
        [1, 4],
        [],
        [1],
    ]
    assert asked == ["a", "a\n\nb", "c"]


def test_steps_are_paragraphs_or_lines():
    assert split_steps("one\ntwo\n\n\nthree\n") == ["one\ntwo", "three"]
    assert split_steps("one\n  two") == ["one", "two"]
    assert split_steps(" ") == []
