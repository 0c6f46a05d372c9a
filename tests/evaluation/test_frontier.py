"""Frontiers and their differences, by hand."""

import numpy as np
import pytest

from sophia_jax.evaluation.frontier import (
    frontier,
    mean_with_interval,
    reward_at,
    reward_differences,
)


def corners(*points):
    return frontier(*np.array(points, float).T)


def test_what_a_mixture_reaches_is_on_the_frontier():
    # (2, 1) lies below the mixture of (1, 2) and (3, 3), and (4, 2) earns less than it.
    found = corners((3, 3), (2, 1), (1, 2), (4, 2))
    np.testing.assert_array_equal(found, [[0, 0], [1, 2], [3, 3]])


def test_an_early_corner_goes_where_a_later_one_is_steeper():
    np.testing.assert_array_equal(corners((1, 1), (2, 3)), [[0, 0], [2, 3]])


def test_of_two_policies_at_one_divergence_the_better_counts():
    np.testing.assert_array_equal(corners((1, 1), (1, 2)), [[0, 0], [1, 2]])
    np.testing.assert_array_equal(corners((0, 0.5), (1, 1)), [[0, 0], [0, 0.5], [1, 1]])


def test_who_earns_less_than_the_reference_has_no_frontier_but_it():
    np.testing.assert_array_equal(corners((1, -1), (2, -3)), [[0, 0]])


def test_a_frontier_rises_by_straight_lines_and_then_stays():
    heights = reward_at(corners((1, 2), (3, 3)), np.array([0.5, 1, 2, 9]))
    np.testing.assert_allclose(heights, [1, 2, 2.5, 3])


def test_differences_are_taken_where_both_are():
    # 2 D against D, up to the first one's end at 1.
    found = reward_differences(corners((1, 2)), corners((4, 4)))
    assert found["largest"] == 1
    assert [found[n] for n in ("quarter", "half", "all")] == pytest.approx(
        [0.25, 0.5, 1]
    )
    assert found["mean"] == pytest.approx(0.51)  # of 0.02, 0.04, ..., 1
    bent = reward_differences(corners((1, 2)), corners((0.5, 1), (4, 1.5)))
    assert bent["all"] == pytest.approx(2 - 1 - 0.5 / 7)


def test_students_interval_of_two_seeds_by_hand():
    mean, (low, high) = mean_with_interval([0.0, 2.0])
    assert mean == 1
    # 0.975 quantile of Student's t with one degree of freedom: tan(0.475 π)
    assert high - 1 == pytest.approx(np.tan(0.475 * np.pi))
    assert 1 - low == pytest.approx(high - 1)


def test_one_seed_has_no_interval():
    assert mean_with_interval([3.0]) == (3.0, None)
