"""Intervals and pass@k against equations solved by hand and against counting."""

import itertools
import math
import random

import numpy as np
import pytest

from sophia_jax.evaluation.metrics import (
    bootstrap_interval,
    majority_at_k,
    pass_at_k,
    wilson_interval,
)

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


# --- majority_at_k ---


def vote(answer_ids, right, subset):
    """Probability that the vote of a subset is right, ties broken by chance."""
    votes = [answer_ids[i] for i in subset if answer_ids[i] is not None]
    most = max(map(votes.count, votes), default=0)
    winners = {answer for answer in votes if votes.count(answer) == most}
    shares = []
    for winner in winners:
        of_it = [r for a, r in zip(answer_ids, right, strict=True) if a == winner]
        shares.append(sum(of_it) / len(of_it))
    return sum(shares) / len(shares) if shares else 0.0


@pytest.mark.parametrize(
    "answer_ids",
    [
        [0],
        [None, None],
        [0, 1, 2, 3],
        [0, 0, 1, 1, 2, 2],
        [0, 0, 0, 1, 1, None, None],
        [1, 0, 0, 2, 2, 1, 3, None],
    ],
)
@pytest.mark.parametrize("right_ids", [{0}, {1}, {0, 2}, set()])
def test_it_is_the_mean_over_all_subsets_and_ties(answer_ids, right_ids):
    right = [answer in right_ids for answer in answer_ids]
    for k in range(1, len(answer_ids) + 1):
        subsets = list(itertools.combinations(range(len(answer_ids)), k))
        mean = sum(vote(answer_ids, right, each) for each in subsets) / len(subsets)
        assert majority_at_k(answer_ids, right, k) == pytest.approx(mean, abs=1e-12)


def test_votes_counted_by_hand():
    # Three say 0, which is right; two say 1. Of the ten subsets of three, one has three
    # 0s, six have two and three have one: 7/10. Of the five of four, two have three 0s,
    # three have two of each and are tied: 2/5 + 3/5 * 1/2 = 7/10.
    answer_ids, right = [0, 0, 0, 1, 1], [True] * 3 + [False] * 2
    votes = [majority_at_k(answer_ids, right, k) for k in range(1, 6)]
    assert votes == pytest.approx([0.6, 0.6, 0.7, 0.7, 1.0])


def test_answers_judged_both_ways_count_by_their_share():
    # Equal answers of which one was judged undecided: the winner is right by half.
    assert majority_at_k([0, 0, 1], [True, False, False], 3) == 0.5


def test_a_sample_without_an_answer_does_not_vote():
    assert majority_at_k([None, None, None, 0], [False] * 3 + [True], 4) == 1.0
    assert majority_at_k([None, None, None, 0], [False] * 3 + [True], 1) == 0.25
    assert majority_at_k([None] * 3, [False] * 3, 2) == 0.0


def test_the_order_of_samples_does_not_change_a_bit():
    samples = [(0, True)] * 7 + [(1, False)] * 7 + [(n, False) for n in range(2, 9)]
    expected = majority_at_k(*zip(*samples, strict=True), 9)
    for seed in range(5):
        shuffled = random.Random(seed).sample(samples, len(samples))
        assert majority_at_k(*zip(*shuffled, strict=True), 9) == expected


def test_a_thousand_samples_keep_to_the_unit_interval_and_to_the_majority():
    answer_ids = [0] * 520 + [1] * 480
    right = [answer == 0 for answer in answer_ids]
    # Of 999 of them, at least 519 say 0; of one, 52 % do.
    assert majority_at_k(answer_ids, right, 999) == pytest.approx(1.0, abs=1e-9)
    assert majority_at_k(answer_ids, right, 1) == pytest.approx(0.52, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 1), "answer_ids: expected 1 to 1000 samples, got 0"),
        (([0] * 1001, [True] * 1001, 1), "expected 1 to 1000 samples, got 1001"),
        (([0, 1], [True], 1), "right: expected one for each of 2 samples, got 1"),
        (([0, 1], [True, False], 3), r"k: expected in \[1, num_samples=2\], got 3"),
        (([0, 1], [True, False], 0), r"k: expected in \[1, num_samples=2\], got 0"),
    ],
)
def test_majority_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        majority_at_k(*arguments)


# --- bootstrap_interval ---


def test_two_questions_by_hand():
    # 0 and 1, two drawn: the mean is 0, 1/2, 1 with probability 1/4, 1/2, 1/4. So the
    # 2.5 % quantile is 0, the 97.5 % one is 1, and those at 0.3 and 0.7 are both 1/2.
    values = np.array([0.0, 1.0])
    assert bootstrap_interval(values) == (0.0, 1.0)
    assert bootstrap_interval(values, confidence=0.4) == (0.5, 0.5)


def test_many_questions_give_the_normal_interval():
    # The variance is (1000 * 1/4 + 1000 * 1/4) / 4000 = 1/8: ± 1.96 √(1/8 / 4000).
    values = np.repeat([0.0, 0.5, 1.0], [1000, 2000, 1000])
    half_width = 1.959964 * math.sqrt(1 / 8 / 4000)
    low, high = bootstrap_interval(values, num_resamples=40_000)
    assert (low, high) == pytest.approx((0.5 - half_width, 0.5 + half_width), abs=4e-4)


def test_it_covers_the_truth_about_as_often_as_it_says():
    # 60 questions of Beta(2, 2) difficulty, 4 samples each: the true mean is 1/2. Over
    # 500 data sets 95 % ± 3 standard deviations (1 %) are covered, less the percentile
    # method's well-known shortfall of about a hundredth at this size.
    random = np.random.default_rng(7)
    covered = 0
    for seed in range(500):
        shares = random.binomial(4, random.beta(2, 2, 60)) / 4
        low, high = bootstrap_interval(shares, num_resamples=1000, seed=seed)
        covered += low <= 0.5 <= high
    assert 0.91 < covered / 500 < 0.98


def test_samples_of_one_question_are_no_more_evidence_than_one():
    # Each question answered the same way in all of its samples: as with one sample.
    shares = np.array([1.0] * 30 + [0.0] * 70)
    assert bootstrap_interval(shares) == pytest.approx((0.21, 0.39), abs=0.011)


def test_the_order_of_questions_does_not_change_a_bit():
    values = np.random.default_rng(0).random(50)
    expected = bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values[::-1].copy(), seed=3) == expected
    assert bootstrap_interval(values, seed=4) != expected


def test_equal_values_and_a_single_question_are_a_point():
    assert bootstrap_interval(np.array([0.3])) == pytest.approx((0.3, 0.3))
    assert bootstrap_interval(np.full(40, 1.0)) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "values: expected at least one, got none"),
        ([0.5, math.nan], {}, "values: expected finite numbers, got nan in place 1"),
        ([math.inf], {}, "values: expected finite numbers, got inf in place 0"),
        ([0.5], {"confidence": 1.0}, r"confidence: expected in \(0, 1\), got 1.0"),
        ([0.5], {"num_resamples": 0}, "num_resamples: expected >= 1, got 0"),
    ],
)
def test_bootstrap_refuses(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(np.array(values), **options)
