"""Diversity of answers, by hand."""

import math

import numpy as np
import pytest

from sophia_jax.evaluation.diversity import (
    distinct_n,
    self_bleu,
    sequence_entropy,
    token_entropy,
)


def test_entropy_of_a_fair_coin_is_log_2():
    log_probs = np.full(10, -math.log(2), np.float32)
    assert sequence_entropy(log_probs) == pytest.approx(math.log(2))


def test_entropy_of_samples_is_that_of_the_distribution():
    probs = np.array([0.7, 0.2, 0.1])
    drawn = np.random.default_rng(0).choice(3, size=20_000, p=probs)
    found = sequence_entropy(np.log(probs)[drawn])
    assert found == pytest.approx(-np.sum(probs * np.log(probs)), abs=0.02)


def test_entropy_a_token_counts_long_answers_by_their_length():
    # 3 nats over 1 + 5 tokens, not the mean of 1/1 and 2/5
    assert token_entropy(np.array([-1.0, -2.0]), [1, 5]) == pytest.approx(0.5)


@pytest.mark.parametrize("lengths", [[1], [1, 0]])
def test_entropy_a_token_needs_every_length(lengths):
    with pytest.raises(ValueError, match="lengths: expected 2 numbers"):
        token_entropy(np.array([-1.0, -2.0]), lengths)


def test_distinct_n_counts_across_answers():
    answers = [[1, 2, 1], [1, 2]]
    assert distinct_n(answers, 1) == pytest.approx(2 / 5)
    assert distinct_n(answers, 2) == pytest.approx(2 / 3)  # 12 21 | 12
    assert distinct_n(answers, 4) == 0
    with pytest.raises(ValueError, match="n: expected >= 1, got 0"):
        distinct_n(answers, 0)


def test_equal_answers_tell_each_other_wholly():
    assert self_bleu([[1, 2, 3, 4, 5]] * 3) == pytest.approx(1)


def test_answers_without_a_common_word_tell_nothing():
    assert self_bleu([[1, 2], [3, 4], [5, 6]]) == 0


def test_self_bleu_by_hand():
    # Of 1 1 2: the other has 1 once and 2 once, so 2 of 3; of its pairs 11 and 12 the
    # other has 12. Of 1 2: both words, its pair; but it is shorter than 3.
    first = math.sqrt(2 / 3 * 1 / 2)
    second = math.exp(1 - 3 / 2)
    assert self_bleu([[1, 1, 2], [1, 2]], most=2) == pytest.approx((first + second) / 2)


def test_a_word_is_known_as_often_as_another_answer_has_it():
    # The third has 7 twice, so the first's two are known; the second's one as well.
    found = self_bleu([[7, 7], [7, 8], [7, 7]], most=1)
    assert found == pytest.approx((1 + 1 / 2 + 1) / 3)


@pytest.mark.parametrize("answers", [[[1]], [[1], []]])
def test_self_bleu_needs_two_answers_with_tokens(answers):
    with pytest.raises(ValueError, match="answers: expected two or more"):
        self_bleu(answers)
