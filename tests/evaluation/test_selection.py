"""Means over all subsets, against the mean that goes through all subsets."""

import itertools
import math

import numpy as np
import pytest

from sophia_jax.evaluation.selection import (
    best_of_k_accuracy,
    reward_weighted_accuracy,
    unscored_share,
)
from sophia_jax.inference_scaling.samplers import reward_weighted_probs

NAN = math.nan
SCORES = np.array([3.0, 1.0, NAN, 3.0, 2.5, 1.0, NAN, 0.0])
RIGHT = np.array([True, False, True, False, True, True, False, True])
KS = range(1, 9)


def through_all_subsets(scores, right, temperature):
    """By the sampler itself: the mean of sum p_i c_i over the subsets of each size.

    To be outside of a subset is to have no score.
    """
    is_in = np.array(list(itertools.product([False, True], repeat=len(scores))))[1:]
    probs = reward_weighted_probs(
        np.where(is_in, scores, NAN).astype(np.float32), temperature=temperature
    )
    chance = (np.asarray(probs, np.float64) * right).sum(axis=1)
    sizes = is_in.sum(axis=1)
    return [chance[sizes == k].mean() for k in range(1, len(scores) + 1)]


@pytest.mark.parametrize("temperature", [0.0, 0.05, 0.7, 5.0, 1e4, math.inf])
def test_every_subset_counts_alike(temperature):
    expected = through_all_subsets(SCORES, RIGHT, temperature)
    found = reward_weighted_accuracy(SCORES, RIGHT, KS, temperature=temperature)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)  # float32 sampler
    if temperature == 0:
        np.testing.assert_allclose(
            best_of_k_accuracy(SCORES, RIGHT, KS), expected, rtol=0, atol=1e-6
        )


def test_a_case_worked_by_hand():
    # Scores 2 (wrong), 1 (right), 1 (wrong), none (right); k = 2 of 4: six subsets.
    # With the 2: wrong, three of them. {1, 1}: half. {1 right, none}: right.
    # {1 wrong, none}: wrong. So (1/2 + 1) / 6.
    scores = np.array([2.0, 1.0, 1.0, NAN])
    right = np.array([False, True, False, True])
    assert best_of_k_accuracy(scores, right, [2])[0] == pytest.approx(0.25, rel=1e-12)
    # k = 1: the right one of four with a score. k = 4: the 2 is taken.
    assert best_of_k_accuracy(scores, right, [1, 4]) == pytest.approx([0.25, 0.0])
    # T = 1, k = 2 of {1 right, 2 wrong} alone: 1 / (1 + e).
    two = reward_weighted_accuracy(scores[:2], right[:2], [2], temperature=1.0)
    assert two[0] == pytest.approx(1 / (1 + math.e), rel=1e-12)


def test_the_integral_is_exact_to_rounding_at_any_temperature():
    random = np.random.default_rng(0)
    scores, right = random.normal(size=7) * 3, random.random(7) < 0.5
    for temperature in (1e-4, 0.02, 0.5, 3.0, 1e3):
        for k in (2, 4, 7):
            weights = np.exp((scores - scores.max()) / np.float64(temperature))
            total = []
            for subset in map(list, itertools.combinations(range(7), k)):
                own = np.exp((scores[subset] - scores[subset].max()) / temperature)
                total.append((own * right[subset]).sum() / own.sum())
            assert weights.max() == 1
            found = reward_weighted_accuracy(
                scores, right, [k], temperature=temperature
            )
            assert found[0] == pytest.approx(np.mean(total), abs=1e-13)


def test_it_is_the_mean_over_nested_beginnings_of_every_order():
    scores, right = np.array([1.0, 3.0, 2.0, 0.0]), np.array([True, False, True, True])
    for k in (1, 2, 3, 4):
        beginnings = [list(order[:k]) for order in itertools.permutations(range(4))]
        chosen = [right[each[np.argmax(scores[each])]] for each in beginnings]
        found = best_of_k_accuracy(scores, right, [k])
        assert found[0] == pytest.approx(np.mean(chosen), rel=1e-12)


def test_nothing_depends_on_the_order_the_shift_or_other_ks():
    random = np.random.default_rng(1)
    order = random.permutation(8)
    base = reward_weighted_accuracy(SCORES, RIGHT, KS, temperature=0.4)
    moved = reward_weighted_accuracy(
        SCORES[order] + 1e3, RIGHT[order], KS, temperature=0.4
    )
    np.testing.assert_allclose(moved, base, atol=1e-12)
    alone = reward_weighted_accuracy(SCORES, RIGHT, [3], temperature=0.4)
    assert alone[0] == pytest.approx(base[2], abs=1e-14)


def test_an_oracle_is_pass_at_k_and_equal_scores_are_a_mean():
    from sophia_jax.evaluation.metrics import pass_at_k

    right = np.arange(30) % 7 == 0  # five of thirty
    found = best_of_k_accuracy(right.astype(float), right, range(1, 31))
    expected = [pass_at_k(30, 5, k) for k in range(1, 31)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for temperature in (0.0, 1.0):
        same = reward_weighted_accuracy(
            np.zeros(30), right, [1, 7, 30], temperature=temperature
        )
        np.testing.assert_allclose(same, 5 / 30, rtol=1e-12)


def test_the_best_of_many_keeps_its_digits():
    # The only right one is the best of 1000: k / n.
    scores = np.arange(1000.0)
    found = best_of_k_accuracy(scores, scores == 999, [1, 10, 500, 1000])
    np.testing.assert_allclose(found, [0.001, 0.01, 0.5, 1.0], rtol=1e-10)
    # It is the least but one: chosen with k = 1, or out of two with the least.
    found = best_of_k_accuracy(scores, scores == 1, [1, 2, 3])
    np.testing.assert_allclose(found, [1e-3, 1 / math.comb(1000, 2), 0], rtol=1e-9)


def test_without_scores_nothing_is_chosen_and_that_is_counted():
    none, right = np.full(3, NAN), np.ones(3, bool)
    for temperature in (0.0, 1.0, math.inf):
        found = reward_weighted_accuracy(none, right, [1, 3], temperature=temperature)
        assert found.tolist() == [0.0, 0.0]
    assert unscored_share(3, 3, 2) == 1.0
    assert unscored_share(2, 4, 2) == pytest.approx(1 / 6)
    assert unscored_share(2, 4, 3) == 0.0
    # All right: what is missing is only where nothing was chosen.
    scores = np.array([1.0, NAN, NAN, 0.0])
    found = best_of_k_accuracy(scores, np.ones(4, bool), [1, 2, 3])
    shares = [unscored_share(2, 4, k) for k in (1, 2, 3)]
    np.testing.assert_allclose(found, 1 - np.array(shares), rtol=1e-12)


@pytest.mark.parametrize(
    ("scores", "ks", "temperature", "rule"),
    [
        (SCORES, [0], 1.0, r"k: expected in \[1, num_samples=8\], got 0"),
        (SCORES, [9], 0.0, r"k: expected in \[1, num_samples=8\], got 9"),
        (SCORES, [1], -1.0, "temperature: expected >= 0, got -1"),
        (SCORES, [1], NAN, "temperature: expected >= 0, got nan"),
        (np.array([math.inf] * 8), [1], 1.0, "scores: expected finite numbers or nan"),
    ],
)
def test_numbers_out_of_their_range_are_refused(scores, ks, temperature, rule):
    with pytest.raises(ValueError, match=rule):
        reward_weighted_accuracy(scores, RIGHT, ks, temperature=temperature)


def test_scores_and_outcomes_are_of_the_same_answers():
    with pytest.raises(TypeError):
        best_of_k_accuracy(SCORES, RIGHT[:3], [1])
