"""Intervals over seeds and questions, on data whose spread is known."""

import numpy as np
import pytest

from sophia_jax.evaluation.seeds import estimate_over_seeds


def test_seeds_that_are_alike_leave_the_spread_of_questions():
    rng = np.random.default_rng(0)
    values = rng.permuted(np.tile([0.0, 0.0, 0.0, 1.0], (4, 100)), axis=1)
    found = estimate_over_seeds(values)
    assert found.mean == 0.25
    assert found.by_seed == (0.25,) * 4
    half = 1.96 * np.sqrt(0.25 * 0.75 / 1600)
    assert found.interval == pytest.approx((0.25 - half, 0.25 + half), abs=0.003)
    assert found.sign == 1


def test_questions_that_are_alike_leave_the_spread_of_seeds():
    by_seed = np.array([0.1, 0.2, 0.3, 0.4])
    found = estimate_over_seeds(np.repeat(by_seed[:, None], 50, axis=1))
    assert found.mean == pytest.approx(0.25)
    # The mean of four draws of four: all sums but the 1/256 of each end and next to it.
    sums = np.sort([sum(draw) for draw in np.ndindex(4, 4, 4, 4)])
    expected = 0.1 + np.quantile(sums, [0.025, 0.975]) / 40
    assert found.interval == pytest.approx(tuple(expected), abs=0.011)


def test_a_difference_that_changes_its_sign_with_the_seed_is_not_decided():
    values = np.repeat([[0.2], [-0.1], [0.1]], 400, axis=1)
    found = estimate_over_seeds(values)
    assert found.mean == pytest.approx(0.2 / 3)
    assert found.sign == 0
    assert estimate_over_seeds(-np.abs(values)).sign == -1


def test_one_value_everywhere_is_no_interval():
    found = estimate_over_seeds(np.full((3, 10), 0.5))
    assert found.interval == (0.5, 0.5)
    assert estimate_over_seeds(np.zeros((3, 10))).sign == 0


def test_questions_without_a_value_are_left_out():
    values = np.array([[1.0, np.nan, 0.0], [1.0, 1.0, 1.0]])
    found = estimate_over_seeds(values)
    assert found.by_seed == (0.5, 1.0)
    assert found.mean == 0.75


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((0, 3)), {}, "values: expected at least one seed, got none"),
        (np.full((1, 2), np.nan), {}, "values of seed 0: expected at least one"),
        (np.full((1, 2), np.inf), {}, "values of seed 0: expected finite"),
        (np.zeros((1, 2)), {"confidence": 1.0}, "confidence: expected in"),
        (np.zeros((1, 2)), {"num_resamples": 0}, "num_resamples: expected >= 1"),
    ],
)
def test_what_cannot_be_used_is_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        estimate_over_seeds(values, **options)
