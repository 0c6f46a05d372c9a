"""Propagation and selection against hand tables, edges of the rule and brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.rewards import propagate_rewards, select_trajectory

# --- propagate_rewards ---


@pytest.mark.parametrize("dtype", [bool, np.int32, np.float32, jnp.bfloat16])
def test_the_reward_of_a_caption_is_the_mean_outcome(dtype):
    # 3 of 4, 0 of 4, 4 of 4.
    outcomes = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    rewards = propagate_rewards(jnp.asarray(outcomes, dtype))
    assert rewards.dtype == jnp.float32
    np.testing.assert_array_equal(rewards, [0.75, 0.0, 1.0])


def test_the_order_of_reasonings_does_not_matter():
    outcomes = np.array([[1, 0, 0, 1, 1, 0, 1]])
    np.testing.assert_array_equal(
        propagate_rewards(outcomes[:, ::-1]), propagate_rewards(outcomes)
    )


def test_one_reasoning_is_its_own_mean_and_no_captions_give_no_rewards():
    np.testing.assert_array_equal(propagate_rewards(np.array([[True]])), [1.0])
    assert propagate_rewards(np.zeros((0, 4), bool)).shape == (0,)


def test_many_reasonings_are_counted_exactly_in_low_precision():
    # 257 right of 512: bfloat16 holds neither 257 nor 257/512.
    outcomes = jnp.arange(512)[None] < 257
    rewards = propagate_rewards(outcomes.astype(jnp.bfloat16))
    np.testing.assert_array_equal(rewards, [257 / 512])


@pytest.mark.parametrize("strange", [2, -1, 0.5, np.nan])
def test_an_outcome_that_is_neither_0_nor_1_is_refused(strange):
    with pytest.raises(ValueError, match=rf"outcomes: expected 0 or 1, got {strange}"):
        propagate_rewards(np.array([[1, strange]]))


def test_a_traced_outcome_that_is_neither_0_nor_1_gives_nan_for_its_caption():
    outcomes = jnp.array([[1.0, 0.5], [1.0, 0.0]])
    np.testing.assert_array_equal(jax.jit(propagate_rewards)(outcomes), [np.nan, 0.5])


def test_captions_without_reasonings_are_refused():
    with pytest.raises(ValueError, match="at least 1 reasoning per caption, got 0"):
        propagate_rewards(np.zeros((3, 0), bool))


def test_a_table_of_another_rank_is_refused():
    with pytest.raises(TypeError, match="outcomes"):
        propagate_rewards(np.zeros(3, bool))


# --- select_trajectory ---


def table(num_right, num_reasonings=8):
    """One caption whose first reasonings are right."""
    return np.arange(num_reasonings)[None] < num_right


def test_the_threshold_is_strict():
    # alpha N = 6: six of eight right is not more than 0.75, seven is.
    lengths = np.arange(10, 18)[None]
    assert select_trajectory(table(6), lengths) is None
    assert select_trajectory(table(7), lengths) == (0, 0)


@pytest.mark.parametrize("num_reasonings", range(1, 31))
def test_an_exact_tie_never_passes_whatever_the_rounding(num_reasonings):
    lengths = np.ones((1, num_reasonings), int)
    for tie in range(num_reasonings):
        threshold = tie / num_reasonings
        at_tie, above = table(tie, num_reasonings), table(tie + 1, num_reasonings)
        assert select_trajectory(at_tie, lengths, threshold=threshold) is None
        assert select_trajectory(above, lengths, threshold=threshold) == (0, 0)


def test_the_shortest_right_reasoning_under_a_passing_caption_is_kept():
    outcomes = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]])
    lengths = np.array([[9, 9, 9, 9], [7, 5, 6, 8], [1, 1, 1, 1]])
    # Caption 0 has 3 of 4, no more than 0.75; caption 2 has 1 of 4.
    assert select_trajectory(outcomes, lengths) == (1, 1)
    assert select_trajectory(outcomes, lengths, threshold=0.0) == (2, 0)


def test_a_shorter_wrong_reasoning_is_not_kept():
    outcomes = np.array([[0, 1, 1, 1, 1, 1, 1, 1]])
    lengths = np.array([[1, 9, 8, 9, 9, 9, 9, 9]])
    assert select_trajectory(outcomes, lengths) == (0, 2)


def test_the_first_in_row_major_order_wins_a_tie():
    outcomes = np.ones((2, 3), bool)
    assert select_trajectory(outcomes, np.full((2, 3), 4)) == (0, 0)
    lengths = np.array([[5, 5, 4], [4, 4, 4]])
    assert select_trajectory(outcomes, lengths) == (0, 2)


def test_the_longest_representable_length_is_kept_too():
    longest = np.iinfo(np.int32).max
    outcomes = np.array([[False, True]])
    lengths = np.full((1, 2), longest, np.int32)
    assert select_trajectory(outcomes, lengths, threshold=0.0) == (0, 1)


def test_threshold_one_and_empty_tables_keep_nothing():
    assert select_trajectory(table(8), np.ones((1, 8), int), threshold=1.0) is None
    for shape in ((0, 8), (3, 0)):
        empty = np.zeros(shape, bool)
        assert select_trajectory(empty, np.zeros(shape, int)) is None


def test_jax_arrays_give_plain_integers():
    kept = select_trajectory(jnp.ones((1, 2)), jnp.array([[3, 2]]))
    assert kept == (0, 1)
    assert all(type(index) is int for index in kept)


def brute_force(outcomes, lengths, numerator, denominator):
    """Eq. (6) read aloud, in integers: sum > (numerator / denominator) N."""
    best = None
    for caption, row in enumerate(outcomes):
        if sum(row) * denominator <= numerator * len(row):
            continue
        for reasoning, right in enumerate(row):
            if right and (best is None or lengths[caption][reasoning] < best[0]):
                best = (lengths[caption][reasoning], (caption, reasoning))
    return best and best[1]


def test_selection_agrees_with_brute_force_on_random_tables():
    random = np.random.default_rng(0)
    num_kept = 0
    for _ in range(3000):
        shape = random.integers(1, 9, size=2)
        outcomes = random.random(shape) < random.random()
        lengths = random.integers(1, 12, size=shape)
        denominator = int(random.integers(1, 13))
        numerator = int(random.integers(0, denominator + 1))
        kept = select_trajectory(outcomes, lengths, threshold=numerator / denominator)
        expected = brute_force(
            outcomes.tolist(), lengths.tolist(), numerator, denominator
        )
        assert kept == expected
        num_kept += kept is not None
    assert 500 < num_kept < 2500  # both outcomes were put to the test


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan])
def test_a_threshold_outside_the_unit_interval_is_refused(threshold):
    with pytest.raises(ValueError, match=r"threshold: expected in \[0, 1\], got"):
        select_trajectory(table(8), np.ones((1, 8), int), threshold=threshold)


@pytest.mark.parametrize("length", [0, -3])
def test_a_right_reasoning_needs_a_length_and_a_wrong_one_does_not(length):
    lengths = np.full((1, 8), length)
    with pytest.raises(ValueError, match=rf"lengths: expected > 0 .* got {length}"):
        select_trajectory(table(8), lengths)
    assert select_trajectory(table(0), lengths) is None


def test_outcomes_other_than_0_and_1_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match="outcomes: expected 0 or 1, got 2"):
        select_trajectory(np.array([[1, 2]]), np.ones((1, 2), int))
    with pytest.raises(TypeError, match="lengths"):
        select_trajectory(table(8), np.ones((1, 7), int))
    with pytest.raises(TypeError, match="lengths"):
        select_trajectory(table(8), np.ones((1, 8)))
