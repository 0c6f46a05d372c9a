"""What a judge is worth, and what is chosen by it."""

import math

import numpy as np
import pytest

from sophia_jax.evaluation.judged import (
    Selection,
    judge_measures,
    selection_scores,
    within_question_concordance,
)
from sophia_jax.types import InputError


def rows(scores, verdicts, reasons=None):
    reasons = reasons or ["stop"] * len(scores)
    return [
        {"score": s, "verdict": v, "finish_reason": r}
        for s, v, r in zip(scores, verdicts, reasons, strict=True)
    ]


QUESTIONS = [
    rows([9.0, 4.0, None, 4.0], ["right", "wrong", "right", "right"]),
    rows([None, 7.0, 8.0, None], ["wrong"] * 4, ["length", "stop", "stop", "stop"]),
]


def test_concordance_counts_pairs_of_a_right_and_a_wrong_answer():
    scores = np.array([3.0, 1.0, 2.0, 3.0, math.nan])
    right = np.array([True, True, False, False, False])
    # 3 > 2, 3 = 3, 1 < 2, 1 < 3: 1 + 1/2 of four.
    assert within_question_concordance(scores, right) == pytest.approx(1.5 / 4)
    assert within_question_concordance(-scores, right) == pytest.approx(2.5 / 4)
    assert math.isnan(within_question_concordance(scores, np.ones(5, bool)))


def test_a_judge_is_measured_where_it_was_asked():
    found = judge_measures(QUESTIONS, [1, 2, 4])
    assert (found["scored"], found["missing"], found["not_asked"]) == (5, 2, 1)
    # 1/4 and 2/4 of the answers; no pair, and one of six; never all four.
    assert found["unscored"] == pytest.approx({"1": 3 / 8, "2": 1 / 12, "4": 0.0})
    assert found["concordance"] == pytest.approx(0.75)  # 9 > 4, 4 = 4
    assert found["of_right"] == pytest.approx(6.5)
    assert found["of_wrong"] == pytest.approx(19 / 3)


def test_a_judge_without_any_score_is_measured_too():
    found = judge_measures([rows([None, None], ["right", "wrong"])], [1])
    assert (found["scored"], found["missing"]) == (0, 2)
    assert found["concordance"] is found["of_right"] is found["of_wrong"] is None
    assert found["unscored"] == {"1": 1.0}


def test_each_way_to_choose_has_its_name():
    both = Selection(("majority", "best-of-k", "reward-weighted"), (0.0, 2.5))
    found = selection_scores(QUESTIONS, [2, 4], both)
    assert list(found) == [
        *("best-of-k@2", "best-of-k@4"),
        *("reward-weighted@2 T=0", "reward-weighted@4 T=0"),
        *("reward-weighted@2 T=2.5", "reward-weighted@4 T=2.5"),
    ]
    assert found["best-of-k@4"].tolist() == [1.0, 0.0]
    np.testing.assert_allclose(found["reward-weighted@2 T=0"], found["best-of-k@2"])
    odds = np.exp(np.array([9.0, 4.0, 4.0]) / 2.5)
    expected = (odds[0] + odds[2]) / odds.sum()
    assert found["reward-weighted@4 T=2.5"][0] == pytest.approx(expected)
    assert selection_scores(QUESTIONS, [], both) == {}


def test_what_is_no_way_to_choose_is_refused():
    with pytest.raises(InputError, match="select: expected of majority, best-of-k"):
        Selection(("vote",))
    with pytest.raises(InputError, match="select_temperature: expected >= 0, got nan"):
        Selection(("best-of-k",), (math.nan,))
