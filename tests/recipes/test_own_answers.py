"""A policy's own answers: which are asked for, and what they tell."""

import dataclasses

import jax
import numpy as np
import pytest

from sophia_jax.data.examples import Example
from sophia_jax.data.preferences import Preference
from sophia_jax.recipes.own_answers import (
    OwnAnswers,
    asked,
    intervals,
    measure_answers,
    without_ends,
)

PAIRS = [
    Preference(
        id=f"{n}", images=(), question=f"question {n // 2}", answer="a", rejected="b"
    )
    for n in range(6)
]


def answer(*tokens):
    return Example(np.array([1], np.int32), np.array(tokens, np.int32))


@pytest.mark.parametrize(
    ("number", "names", "each"),
    [(2, ["0", "2"], 1), (3, ["0", "2", "4"], 1), (7, ["0", "2", "4"], 3)],
)
def test_each_question_is_asked_once_and_answered_as_often(number, names, each):
    requests = asked(PAIRS, number, seed=3)
    assert [request.group for request in requests] == names
    assert {request.num_samples for request in requests} == {each}
    assert len({request.seed for request in requests}) == len(names)


def test_no_answers_ask_nothing():
    assert asked(PAIRS, 0, seed=3) == []
    assert asked([], 8, seed=3) == []


def test_measures_of_two_answers_by_hand():
    answers = [answer(5, 6, 2), answer(5, 5)]
    policy = [np.array([-1.0, -1, -1], np.float32), np.array([-1.0, -2], np.float32)]
    reference = [
        each - ratio for each, ratio in zip(policy, ([1, 0, 0], [0, -2]), strict=True)
    ]
    found = measure_answers(answers, policy, reference, [False, True])
    ratios = np.array([1.0, -2.0])  # whole answers' log π - log π_ref
    # (f(u) - f'(1)(u - 1)) / u: ℓ + 1/u - 1 of the reverse KL, with f = u log u
    reverse = np.mean(ratios + np.exp(-ratios) - 1)
    # f = -log u: (-ℓ + u - 1) / u of the forward KL
    forward = np.mean((-ratios + np.exp(ratios) - 1) * np.exp(-ratios))
    assert found["divergence_reverse_kl"] == pytest.approx(reverse, rel=1e-5)
    assert found["divergence_forward_kl"] == pytest.approx(forward, rel=1e-5)
    assert found["sequence_entropy"] == pytest.approx(3)
    assert found["token_entropy"] == pytest.approx(6 / 5)
    assert found["distinct_1"] == pytest.approx(3 / 5)
    assert found["distinct_2"] == pytest.approx(1)
    assert (found["answer_tokens"], found["answers_cut_off"]) == (2.5, 0.5)
    low, high = intervals(found)["divergence_reverse_kl"]
    assert low <= reverse <= high
    assert (
        intervals(found).keys() == without_ends(found).keys() & intervals(found).keys()
    )
    assert not [
        name for name in without_ends(found) if name.endswith(("_low", "_high"))
    ]


def test_a_policy_that_has_not_moved_diverges_by_nothing_and_one_that_has_does(
    text_model,
):

    look = OwnAnswers(
        reference=text_model,
        requests=asked(PAIRS, 24, seed=3),
        longest=6,
        partition=None,
        scoring={"row_length": 64, "batch_size": 24},
    )
    still = look(text_model)
    divergences = [still[name] for name in intervals(still)]
    assert divergences == [0] * 4
    decoder = jax.tree.map(lambda weight: weight * 1.2, text_model.params["decoder"])
    moved = dataclasses.replace(
        text_model, params=text_model.params | {"decoder": decoder}
    )
    found = look(moved)
    assert all(found[name] > 0 for name in intervals(found))
    assert look(moved) == found  # the same random numbers at every look
