"""Calibration errors worked by hand, and their limits."""

import numpy as np
import pytest

from sophia_jax.evaluation.calibration import (
    expected_calibration_error,
    likelihood_calibration_error,
    preference_calibration_error,
)


def test_each_bin_weighs_by_its_samples():
    # Bins of 0.5: {0.2, 0.4} with one right of two: |0.5 - 0.3| = 0.2, weight 2/5;
    # {0.6, 0.8, 1.0} with one right of three: |1/3 - 0.8| = 7/15, weight 3/5.
    error = expected_calibration_error(
        np.array([0.2, 0.4, 0.6, 0.8, 1.0]),
        np.array([True, False, True, False, False]),
        num_bins=2,
    )
    assert error == pytest.approx(0.4 * 0.2 + 0.6 * 7 / 15)


def test_a_bin_holds_its_upper_end():
    # 0.5 lies with 0.1, so the errors of +0.5 and -0.1 meet in one bin.
    right = np.array([1.0, 0.0])
    error = expected_calibration_error(np.array([0.5, 0.1]), right, num_bins=2)
    assert error == pytest.approx((0.5 - 0.1) / 2)
    # Of ten bins they are in two.
    error = expected_calibration_error(np.array([0.5, 0.1]), right)
    assert error == pytest.approx((0.5 + 0.1) / 2)
    assert expected_calibration_error(np.array([0.0, 1.0]), 1 - right) == 0


def test_outcomes_drawn_with_the_stated_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    right = rng.random(200_000) < confidence
    assert expected_calibration_error(confidence, right) < 0.01
    # Twice as sure of being wrong as it is: |p - (1 - p)| is 1/2 on average.
    assert expected_calibration_error(1 - confidence, right) == pytest.approx(
        0.5, abs=0.01
    )


def test_preferences_are_judged_by_the_likelier_answer():
    # σ(log 3) = 3/4, σ(log 4) = 4/5. In ten bins of [1/2, 1]: (0.7, 0.75] and
    # (0.75, 0.8]. The two of 3/4: one right, |1/2 - 3/4|; the one of 4/5: wrong, 4/5.
    margins = np.array([np.log(2.9999999), -np.log(2.9999999), -np.log(3.9999)])
    assert preference_calibration_error(margins) == pytest.approx(
        (2 * 0.25 + 0.8) / 3, abs=1e-4
    )
    assert preference_calibration_error(np.zeros(3)) == 0  # half right, half sure
    assert preference_calibration_error(np.array([1e4, np.inf])) == 0
    assert preference_calibration_error(np.array([-1e4])) == 1


def test_preferences_drawn_from_the_rewards_are_calibrated():
    rng = np.random.default_rng(1)
    margin = rng.normal(size=200_000) * 2
    drawn = np.where(rng.random(200_000) < 1 / (1 + np.exp(-margin)), margin, -margin)
    assert preference_calibration_error(drawn) < 0.01
    assert preference_calibration_error(3 * drawn) > 0.05  # too sure


def test_likelihoods_are_taken_per_token():
    # Chosen: e^-1 = 0.3679 a token, both times. Against -1.5 a token it is right,
    # against -0.5 wrong: |1/2 - e^-1|. By sums the first would be wrong too.
    error = likelihood_calibration_error(
        np.array([-4.0, -2.0]),
        np.array([4, 2]),
        np.array([-3.0, -0.5]),
        np.array([2, 1]),
    )
    assert error == pytest.approx(0.5 - np.exp(-1))


def test_nothing_has_no_error():
    assert np.isnan(expected_calibration_error(np.zeros(0), np.zeros(0)))


def test_bad_arguments_are_named():
    half = np.array([0.5])
    with pytest.raises(ValueError, match="num_bins: expected >= 1, got 0"):
        expected_calibration_error(half, half, num_bins=0)
    with pytest.raises(ValueError, match=r"confidence: expected in \[0, 1\], got 1.5"):
        expected_calibration_error(half + 1, half)
    with pytest.raises(ValueError, match=r"confidence: expected in \[0.6, 1\]"):
        expected_calibration_error(half, half, least=0.6)
    with pytest.raises(ValueError, match=r"right: expected in \[0, 1\], got 2.0"):
        expected_calibration_error(half, half + 1.5)
    with pytest.raises(ValueError, match="got nan"):
        preference_calibration_error(np.array([np.nan]))
    with pytest.raises(ValueError, match="rejected_length: expected >= 1, got 0"):
        likelihood_calibration_error(-half, np.array([1]), -half, np.array([0]))
    with pytest.raises(ValueError, match="chosen_log_prob: expected <= 0, got 0.5"):
        likelihood_calibration_error(half, np.array([1]), -half, np.array([1]))
