"""Preferences become the scores that make them likeliest."""

import numpy as np
import pytest

from sophia_jax.rewards import bradley_terry_scores


def logistic(x):
    return 1 / (1 + np.exp(-x))


def test_of_two_the_difference_is_the_log_odds_of_winning():
    scores = bradley_terry_scores(np.array([[0.0, 3.0], [1.0, 0.0]]), prior=1e-9)
    assert scores[0] - scores[1] == pytest.approx(np.log(3), rel=1e-6)
    assert scores.sum() == pytest.approx(0, abs=1e-6)


def test_a_winner_of_all_is_as_far_ahead_as_its_draws_allow():
    # w (1 - s(2x)) + p (1/2 - s(x)) = 0 by symmetry, where s is the logistic function.
    for prior in (0.5, 1.0, 2.0):
        x = bradley_terry_scores(np.array([[0.0, 2.0], [0.0, 0.0]]), prior=prior)[0]
        gap = 2 * (1 - logistic(2 * x)) + prior * (0.5 - logistic(x))
        assert gap == pytest.approx(0, abs=1e-9)
        assert 0 < x < 3


def test_expected_wins_give_back_the_strengths_behind_them():
    theta = np.array([2.0, 0.5, -0.5, -2.0])  # they sum to zero, as with a weak prior
    wins = 1e4 * logistic(theta[:, None] - theta[None, :])
    np.fill_diagonal(wins, 77.0)  # is not looked at
    scores = bradley_terry_scores(wins, prior=1e-3)
    np.testing.assert_allclose(scores, theta, atol=1e-5)


def test_an_exhaustive_search_finds_nothing_likelier():
    wins = np.array([[0, 2, 1.5], [0, 0, 0.5], [0.5, 1.5, 0]])

    def log_posterior(theta):
        won = wins * np.log(logistic(theta[:, None] - theta[None, :]))
        drawn = np.log(logistic(theta)) + np.log(logistic(-theta))
        return won.sum() + 0.7 / 2 * drawn.sum()

    best = bradley_terry_scores(wins, prior=0.7)
    random = np.random.default_rng(0)
    for scale in (1e-3, 0.1, 1.0):
        for other in best + scale * random.normal(size=(300, 3)):
            assert log_posterior(other) < log_posterior(best)


def test_equal_and_unmet_answers_have_no_score_above_others():
    circle = np.array([[0.0, 2, 0, 0], [0, 0, 2, 0], [2, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(bradley_terry_scores(circle), 0, atol=1e-9)
    assert bradley_terry_scores(np.zeros((1, 1))).tolist() == [0.0]


def test_lopsided_preferences_converge():
    wins = np.triu(np.full((40, 40), 1e3), 1)
    scores = bradley_terry_scores(wins, prior=1e-2)
    assert np.all(np.diff(scores) < 0)
    # At the maximum the gradient vanishes.
    met = wins + wins.T
    beats = logistic(scores[:, None] - scores[None, :])
    gradient = wins.sum(1) - (met * beats).sum(1) + 1e-2 * (0.5 - logistic(scores))
    assert np.abs(gradient).max() < 1e-4


@pytest.mark.parametrize(
    ("wins", "prior", "rule"),
    [
        (np.array([[0.0, -1.0], [0.0, 0.0]]), 1.0, "wins: expected finite and >= 0"),
        (np.array([[0.0, np.nan], [0.0, 0.0]]), 1.0, "wins: expected finite and >= 0"),
        (np.zeros((2, 2)), 0.0, "prior: expected > 0, got 0"),
    ],
)
def test_what_is_no_count_is_refused(wins, prior, rule):
    with pytest.raises(ValueError, match=rule):
        bradley_terry_scores(wins, prior=prior)
