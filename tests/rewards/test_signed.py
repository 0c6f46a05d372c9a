"""Signed rewards: the kept trajectory, and wrong ones drawn evenly beside it."""

import numpy as np
import pytest

from sophia_jax.rewards import signed_rewards

OUTCOMES = np.array([[1, 1, 1, 0], [0, 0, 1, 0]])
LENGTHS = np.array([[9, 5, 7, 1], [1, 1, 2, 1]])


def signed(seed=0, outcomes=OUTCOMES, **options):
    options = {"threshold": 0.5} | options
    return signed_rewards(outcomes, LENGTHS, np.random.default_rng(seed), **options)


def test_the_best_is_pushed_up_and_wrong_ones_down():
    rewards = signed(num_negatives=2, weight=0.5)
    # Captions need more than half right: the first, whose shortest has 5 tokens.
    assert rewards[0, 1] == 1
    assert sorted(rewards[rewards != 0]) == [-0.25, -0.25, 1]
    assert not rewards[OUTCOMES == 1].min() < 0


def test_wrong_ones_are_drawn_evenly_from_all_captions():
    counts = sum(signed(seed) < 0 for seed in range(800))
    assert counts.sum() == 800
    np.testing.assert_allclose(counts[OUTCOMES == 0], 200, atol=50)  # 4 deviations


def test_without_negatives_it_is_the_paper_s_reward():
    rewards = signed(num_negatives=0)
    assert rewards[0, 1] == rewards.sum() == 1


def test_where_nothing_is_kept_nothing_is_learnt():
    assert not signed(threshold=0.75).any()
    assert not signed(outcomes=np.zeros((2, 4), int)).any()


def test_where_nothing_is_wrong_there_is_no_negative():
    rewards = signed(outcomes=np.ones((2, 4), int))
    assert rewards.min() == 0 and rewards.sum() == 1


def test_fewer_wrong_ones_than_asked_share_the_weight():
    rewards = signed(num_negatives=9, weight=1.0)
    np.testing.assert_allclose(rewards[OUTCOMES == 0], -0.25)


@pytest.mark.parametrize("option", ["num_negatives", "weight"])
def test_options_below_zero_are_refused(option):
    with pytest.raises(ValueError, match=f"{option}: expected >= 0, got -1"):
        signed(**{option: -1})
