"""Divergences told from samples: right on average, and honest about their tails."""

import math

import numpy as np
import pytest

from sophia_jax.evaluation.divergence import estimate_divergence
from sophia_jax.losses import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    alpha_divergence,
)

GENERATORS = {
    "reverse KL": (REVERSE_KL, lambda u: u * np.log(u)),
    "forward KL": (FORWARD_KL, lambda u: -np.log(u)),
    "Jensen-Shannon": (
        JENSEN_SHANNON,
        lambda u: u * np.log(u) - (u + 1) * np.log((u + 1) / 2),
    ),
    "alpha 0.3": (
        alpha_divergence(0.3),
        lambda u: (u**0.7 - 0.7 * u - 0.3) / (0.3 * (0.3 - 1)),
    ),
}
POLICY = np.array([0.5, 0.2, 0.2, 0.1])
REFERENCE = np.array([0.1, 0.2, 0.3, 0.4])
RATIO = np.log(POLICY / REFERENCE).astype(np.float32)


@pytest.mark.parametrize("name", GENERATORS)
def test_it_finds_the_divergence_of_an_enumerable_policy(name):
    divergence, f = GENERATORS[name]
    exact = np.sum(REFERENCE * f(POLICY / REFERENCE))
    rng = np.random.default_rng(0)
    drawn = rng.choice(4, size=(200, 400), p=POLICY)
    found = [
        estimate_divergence(RATIO[row], divergence, num_resamples=400) for row in drawn
    ]
    values = np.array([each.value for each in found])
    error = values.std(ddof=1)
    assert values.mean() == pytest.approx(exact, abs=4 * error / math.sqrt(200))
    # What one set of samples says of its error is what other sets show.
    told = np.mean([each.standard_error for each in found])
    assert told == pytest.approx(error, rel=0.2)
    covered = np.mean(
        [low <= exact <= high for low, high in (x.interval for x in found)]
    )
    assert 0.89 <= covered <= 0.99


def test_two_samples_by_hand():
    # ℓ + e^-ℓ - 1 at 0 and at log 2: 0 and log 2 - 1/2
    ratio = np.log(np.array([1.0, 2.0], np.float32))
    found = estimate_divergence(ratio, REVERSE_KL)
    term = math.log(2) - 0.5
    assert found.value == pytest.approx(term / 2, rel=1e-5)
    assert found.standard_error == pytest.approx(term / 2, rel=1e-5)
    assert found.interval == pytest.approx((0, term), rel=1e-5)
    assert found.largest_share == 1
    assert found.num_samples == 2


def test_a_policy_that_is_its_reference_is_at_no_distance():
    found = estimate_divergence(np.zeros(7, np.float32), FORWARD_KL)
    assert (found.value, found.standard_error) == (0, 0)
    assert found.largest_share == 0


def test_what_the_policy_never_says_is_missed_and_nothing_shows_it():
    # It gave up half of what the reference says: D is large, and unseen.
    policy, reference = np.array([1 - 1e-9, 1e-9]), np.array([0.5, 0.5])
    exact = -0.5 * np.sum(np.log(policy / reference))
    ratio = np.full(1000, np.log(policy[0] / reference[0]), np.float32)
    found = estimate_divergence(ratio, FORWARD_KL)
    assert exact > 9
    assert found.interval[1] < 0.2  # the same 1 - e^-ℓ (1 + ℓ) of each sample


def test_a_single_term_that_decides_all_is_named():
    ratio = np.zeros(100, np.float32)
    ratio[3] = -10  # the policy said what it hardly ever says
    found = estimate_divergence(ratio, FORWARD_KL)
    assert found.largest_share == pytest.approx(1)
    assert found.standard_error == pytest.approx(found.value, rel=1e-3)


@pytest.mark.parametrize(
    ("ratio", "error"),
    [
        (np.zeros(0, np.float32), "log_ratio: expected at least one"),
        (np.array([0.0, np.inf], np.float32), "log_ratio: expected finite"),
    ],
)
def test_samples_that_tell_nothing_are_refused(ratio, error):
    with pytest.raises(ValueError, match=error):
        estimate_divergence(ratio, REVERSE_KL)
