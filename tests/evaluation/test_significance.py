"""Paired tests against enumeration, against each other, and on runs that are equal."""

import itertools
import math

import numpy as np
import pytest

from sophia_jax.evaluation.metrics import bootstrap_interval
from sophia_jax.evaluation.significance import (
    mcnemar_p_value,
    paired_difference,
    sign_flip_p_value,
)


@pytest.mark.parametrize(
    ("won", "lost", "p_value"),
    [
        # 2 (C(6, 0) + C(6, 1)) / 2⁶ = 14/64.
        (5, 1, 14 / 64),
        (1, 5, 14 / 64),
        (10, 0, 2 / 1024),
        (3, 3, 1.0),
        (0, 0, 1.0),
        (1, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(won, lost, p_value):
    assert mcnemar_p_value(won, lost) == pytest.approx(p_value)


def test_mcnemar_of_thousands_is_the_normal_approximation():
    # Corrected for continuity: z = (2100 - 1900 - 1) / √4000.
    z = 199 / math.sqrt(4000)
    assert mcnemar_p_value(2100, 1900) == pytest.approx(
        math.erfc(z / math.sqrt(2)), rel=0.01
    )


def test_mcnemar_refuses_negative_numbers():
    with pytest.raises(ValueError, match="num_lost: expected >= 0, got -1"):
        mcnemar_p_value(3, -1)


def test_sign_flips_are_the_share_of_all_signs():
    differences = np.array([0.5, -0.25, 0.75, 0.25, 0.0, 0.5, 0.25])
    signs = itertools.product((-1, 1), repeat=len(differences))
    observed = abs(differences.sum()) - 1e-12
    sums = [abs(np.dot(each, differences)) for each in signs]
    exact = sum(each >= observed for each in sums) / len(sums)
    drawn = sign_flip_p_value(differences, num_flips=100_000)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 100_000))


def test_sign_flips_of_right_and_wrong_are_mcnemar():
    differences = np.array([1.0] * 12 + [-1.0] * 4 + [0.0] * 30)
    exact = mcnemar_p_value(12, 4)
    assert sign_flip_p_value(differences, num_flips=100_000) == pytest.approx(
        exact, abs=0.003
    )


def test_thirds_that_sum_to_the_same_are_as_large_as_each_other():
    # 1/3 + 1/3 - 2/3 and the like differ by a rounding: every flip is as large as 0.
    differences = np.array([1 / 3, 2 / 3 - 1 / 3, 0.1 + 0.2, -1 / 3, -1 / 3, -0.3])
    assert sign_flip_p_value(differences) == 1.0


def test_no_difference_has_p_1_and_order_does_not_matter():
    assert sign_flip_p_value(np.zeros(5)) == 1.0
    differences = np.random.default_rng(1).normal(size=30)
    assert sign_flip_p_value(differences) == sign_flip_p_value(differences[::-1].copy())


def test_p_values_of_equal_runs_are_even():
    # Two runs of the same model: p < 0.1 in no more than a tenth of the cases, within
    # three standard deviations of 400 cases (4.5 %).
    random = np.random.default_rng(3)
    small = 0
    for seed in range(400):
        chances = random.beta(1, 1, 40)
        runs = [random.binomial(4, chances) / 4 for _ in range(2)]
        small += sign_flip_p_value(runs[1] - runs[0], num_flips=500, seed=seed) < 0.1
    assert 0.05 < small / 400 < 0.145


def test_right_and_wrong_answers_compared_by_hand():
    first = np.array([1.0, 1, 0, 0, 0, 0, 0, 1])
    second = np.array([1.0, 0, 1, 1, 1, 1, 1, 1])
    pair = paired_difference(first, second)
    assert (pair.first, pair.second) == (3 / 8, 7 / 8)
    assert pair.difference == 0.5
    assert (pair.won, pair.lost, pair.tied) == (5, 1, 2)
    assert pair.p_value == pytest.approx(14 / 64)
    assert pair.test == "McNemar's exact test"
    assert pair.interval == bootstrap_interval(second - first)


def test_shares_are_compared_by_sign_flips():
    first, second = np.array([0.5, 0.25, 1.0]), np.array([0.75, 0.25, 0.5])
    pair = paired_difference(first, second, seed=2)
    assert (pair.won, pair.lost, pair.tied) == (1, 1, 1)
    assert pair.p_value == sign_flip_p_value(second - first, seed=2)
    assert "sign flips" in pair.test


def test_swapping_the_runs_swaps_everything():
    random = np.random.default_rng(5)
    first, second = (random.binomial(4, 0.5, 200) / 4 for _ in range(2))
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert one.difference == pytest.approx(-other.difference)
    assert (one.won, one.lost) == (other.lost, other.won)
    assert one.p_value == other.p_value
    low, high = other.interval
    assert one.interval == pytest.approx((-high, -low), abs=0.005)


def test_what_is_hard_for_both_cancels():
    # Two runs that agree on 990 of 1000 questions: the paired interval is far narrower.
    first = np.repeat([1.0, 0.0], 500)
    second = first.copy()
    second[500:510] = 1.0
    low, high = paired_difference(first, second).interval
    alone = bootstrap_interval(second)
    assert high - low < (alone[1] - alone[0]) / 4
    assert low > 0


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([], [], "first: expected at least one, got none"),
        ([1.0, 0.0], [1.0, math.nan], "second: expected finite numbers, got nan in pl"),
    ],
)
def test_scores_that_are_none_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(np.array(first), np.array(second))


def test_runs_of_other_lengths_are_refused():
    with pytest.raises(TypeError):
        paired_difference(np.zeros(3), np.zeros(4))


def test_no_flips_are_refused():
    with pytest.raises(ValueError, match="num_flips: expected >= 1, got 0"):
        sign_flip_p_value(np.ones(3), num_flips=0)
