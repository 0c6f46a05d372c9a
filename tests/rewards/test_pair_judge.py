"""Answers compared two at a time, in both orders."""

import itertools
import math

import numpy as np
import pytest

from sophia_jax.rewards import PairJudge, bradley_terry_scores
from sophia_jax.rewards.pair_judge import position_bias, schedule


def shown(request):
    """The answers in a prompt, as they stand there."""
    text = request.text
    return [
        text.split(f" answer {name} begins\n")[1].split("\n")[0] for name in ("A", "B")
    ]


def larger(request):
    one, other = map(int, shown(request))
    return "A" if one > other else "B"


def of(question, answers):
    return [(question, str(answer)) for answer in answers]


def test_a_consistent_judge_orders_the_answers(speaker):
    model = speaker(larger)
    judge = PairJudge(model)
    scores = judge(of("q", [5, 1, 9, 5]))
    assert scores[2] > scores[0] > scores[1]
    assert scores[3] == scores[0]  # the same answer is asked about once
    assert len(model.asked) == 3 * 2
    wins = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, 0.0]])
    np.testing.assert_allclose(scores[:3], bradley_terry_scores(wins), atol=1e-9)
    assert judge.counts()["position_bias"] == {
        **{"first": 0.5, "consistent": 1.0, "pairs": 3}
    }


def test_a_judge_that_goes_by_the_place_tells_nothing_and_is_found_out(speaker):
    judge = PairJudge(speaker(lambda request: "A"))
    assert judge(of("q", range(4))) == pytest.approx([0.0] * 4, abs=1e-9)
    assert judge.counts()["position_bias"] == {
        **{"first": 1.0, "consistent": 0.0, "pairs": 6}
    }


def test_position_bias_is_a_mean_over_replies_and_a_share_of_pairs():
    values = {"p/0": 1.0, "p/1": 0.0, "q/0": 1.0, "q/1": 1.0, "r/0": 0.5, "r/1": 0.5}
    values["s/1"] = 1.0  # its other order could not be read
    found = position_bias(values)
    assert found["first"] == pytest.approx(5 / 7)
    assert (found["consistent"], found["pairs"]) == (2 / 3, 3)
    assert position_bias({}) == {"first": None, "consistent": None, "pairs": 0}


def test_questions_and_pictures_are_kept_apart(speaker):
    model = speaker(larger)
    judge = PairJudge(model)
    pairs = [*of("q", [1, 2]), *of("other", [3, 4]), *of("q", [5])]
    images = [(), (), (), (), ("a.png",)]
    scores = judge(pairs, images)
    assert scores[4] == 0.0  # it has nothing to be compared with
    assert len(model.asked) == 4
    assert all(len(set(shown(request)) & {"1", "2"}) != 1 for request in model.asked)
    assert scores[:2] == pytest.approx(scores[2:4])


def test_an_answer_none_of_whose_replies_is_read_has_no_score(speaker):
    def say(request):
        return "?" if "7" in shown(request) else larger(request)

    judge = PairJudge(speaker(say), retries=1)
    scores = judge(of("q", [7, 1, 2]))
    assert math.isnan(scores[0])
    assert scores[2] > 0 > scores[1]
    counts = judge.counts()
    assert (counts["asked"], counts["missing"], counts["retries"]) == (6, 4, 4)


def test_the_order_of_the_answers_changes_nothing(speaker):
    answers = [3, 1, 4, 15, 9, 2]
    model = speaker(larger)
    judge = PairJudge(model, opponents=2)
    one = dict(zip(answers, judge(of("q", answers)), strict=True))
    num_asked = len(model.asked)
    other = dict(zip(sorted(answers), judge(of("q", sorted(answers))), strict=True))
    assert one == other
    assert len(model.asked) == num_asked == 6 * 2


@pytest.mark.parametrize(("num_answers", "opponents"), [(5, 2), (8, 4), (9, 6), (6, 4)])
def test_with_fewer_opponents_all_meet_equally_many_and_are_joined(
    num_answers, opponents
):
    matches = schedule(num_answers, opponents)
    met = np.zeros((num_answers, num_answers))
    for one, other in matches:
        met[one, other] += 1
        met[other, one] += 1
    assert met.max() == 1
    assert set(met.sum(1)) == {opponents}
    assert np.all(np.linalg.matrix_power(met + np.eye(num_answers), num_answers) > 0)


def test_all_meet_all_where_there_are_opponents_enough():
    everyone = list(itertools.combinations(range(4), 2))
    assert schedule(4, None) == schedule(4, 4) == everyone
    assert schedule(1, None) == []


@pytest.mark.parametrize("opponents", [0, 1, 3])
def test_an_odd_number_of_opponents_is_refused(opponents):
    with pytest.raises(ValueError, match="opponents: expected an even number >= 2"):
        PairJudge(None, opponents=opponents)
