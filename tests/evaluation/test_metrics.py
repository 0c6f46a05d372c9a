"""Intervals and pass@k against equations solved by hand and against counting."""

import itertools
import math

import pytest

from sophia_jax.evaluation.metrics import pass_at_k, wilson_interval

# --- wilson_interval ---


def test_half_of_a_hundred_by_hand():
    # z = 1.959964, z² = 3.841459, n = 100, p = 1/2:
    # center (0.5 + 0.01920729) / 1.03841459 = 0.5
    # half   1.959964 * sqrt(0.0025 + 0.00009603647) / 1.03841459 = 0.09616846
    assert wilson_interval(50, 100) == pytest.approx((0.40383154, 0.59616846), abs=1e-7)


def test_no_right_answer_leaves_z_squared_over_n_plus_z_squared():
    # p = 0: (z²/2n + z²/2n) / (1 + z²/n) = z²/(n + z²) = 3.841459 / 13.841459
    lower, upper = wilson_interval(0, 10)
    assert lower == 0.0
    assert upper == pytest.approx(0.27753279, abs=1e-7)


@pytest.mark.parametrize("num_right", range(8))
def test_right_and_wrong_are_mirror_images(num_right):
    lower, upper = wilson_interval(num_right, 7)
    mirrored = wilson_interval(7 - num_right, 7)
    assert (lower, upper) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]))


@pytest.mark.parametrize(
    ("num_right", "num_questions"), [(1, 3), (17, 600), (599, 600)]
)
def test_each_end_is_z_standard_deviations_from_the_share(num_right, num_questions):
    share = num_right / num_questions
    # The 0.95 quantile of the standard normal distribution is 1.6448536.
    for end in wilson_interval(num_right, num_questions, confidence=0.9):
        deviation = math.sqrt(end * (1 - end) / num_questions)
        assert abs(share - end) / deviation == pytest.approx(1.6448536, rel=1e-6)


def test_intervals_stay_inside_the_unit_interval_and_hold_the_share():
    for num_questions in (1, 2, 5, 10_000):
        for num_right in {0, 1, num_questions // 2, num_questions}:
            lower, upper = wilson_interval(num_right, num_questions)
            assert 0 <= lower <= num_right / num_questions <= upper <= 1
            assert lower < upper


def test_more_questions_and_less_confidence_make_it_narrower():
    def width(*args, **kwargs):
        lower, upper = wilson_interval(*args, **kwargs)
        return upper - lower

    assert width(300, 1000) < width(30, 100) < width(3, 10)
    assert width(30, 100, confidence=0.5) < width(30, 100, confidence=0.99)


@pytest.mark.parametrize(
    ("arguments", "confidence", "message"),
    [
        ((0, 0), 0.95, "num_questions: expected >= 1, got 0"),
        ((3, 2), 0.95, r"num_right: expected in \[0, num_questions=2\], got 3"),
        ((-1, 2), 0.95, r"num_right: expected in \[0, num_questions=2\], got -1"),
        ((1, 2), 1.0, r"confidence: expected in \(0, 1\), got 1.0"),
        ((1, 2), math.nan, r"confidence: expected in \(0, 1\), got nan"),
    ],
)
def test_interval_refuses(arguments, confidence, message):
    with pytest.raises(ValueError, match=message):
        wilson_interval(*arguments, confidence=confidence)


# --- pass_at_k ---


@pytest.mark.parametrize("num_samples", range(1, 8))
def test_it_is_the_share_of_subsets_that_hold_a_right_sample(num_samples):
    for num_right in range(num_samples + 1):
        for k in range(1, num_samples + 1):
            subsets = list(itertools.combinations(range(num_samples), k))
            # Samples 0 .. num_right - 1 are the right ones.
            hits = sum(min(subset) < num_right for subset in subsets)
            expected = hits / len(subsets)
            assert pass_at_k(num_samples, num_right, k) == pytest.approx(expected)


def test_none_right_is_exactly_zero_and_too_few_wrong_is_exactly_one():
    assert pass_at_k(8, 0, 8) == 0.0
    assert pass_at_k(8, 3, 6) == 1.0


def test_it_is_unbiased():
    # Averaged over all outcomes of n = 6 tries that are right with probability 0.3,
    # it must be the probability that k = 2 tries hold a right one: 1 - 0.7² = 0.51.
    mean = sum(
        math.comb(6, right) * 0.3**right * 0.7 ** (6 - right) * pass_at_k(6, right, 2)
        for right in range(7)
    )
    assert mean == pytest.approx(0.51, abs=1e-12)


def test_a_small_probability_among_many_samples_keeps_its_digits():
    # One right of 10¹²: C(n-1, k)/C(n, k) = 1 - k/n, so the value is k/n exactly.
    assert pass_at_k(10**12, 1, 3) == pytest.approx(3e-12, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 1), "num_samples: expected >= 1, got 0"),
        ((4, 5, 1), r"num_right: expected in \[0, num_samples=4\], got 5"),
        ((4, 2, 0), r"k: expected in \[1, num_samples=4\], got 0"),
        ((4, 2, 5), r"k: expected in \[1, num_samples=4\], got 5"),
    ],
)
def test_pass_at_k_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k(*arguments)
