"""Advantages by hand, of equal rewards, and unbiased baselines."""

import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.losses import group_advantages, leave_one_out_advantages


def test_rewards_are_centred_and_scaled_by_the_unbiased_deviation():
    # Mean 1/4; deviations 3/4 and three times -1/4; variance (9 + 3) / 16 / 3 = 1/4.
    found = group_advantages(jnp.array([[1.0, 0, 0, 0]]))
    np.testing.assert_allclose(found, [[1.5, -0.5, -0.5, -0.5]], rtol=3e-4)
    np.testing.assert_allclose(
        found, np.array([[0.75, -0.25, -0.25, -0.25]]) / 0.5001, rtol=1e-6
    )
    centred = group_advantages(jnp.array([[1.0, 0, 0, 0]]), normalize=False)
    np.testing.assert_array_equal(centred, [[0.75, -0.25, -0.25, -0.25]])


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e8, 0.0])
def test_equal_rewards_teach_nothing(value):
    rewards = jnp.full((2, 7), value)
    for found in (
        group_advantages(rewards),
        group_advantages(rewards, normalize=False),
        leave_one_out_advantages(rewards),
    ):
        np.testing.assert_array_equal(found, np.zeros((2, 7)))


def test_a_group_knows_nothing_of_the_others():
    one, other = jnp.array([[1.0, 2, 3]]), jnp.array([[5.0, 5, 6]])
    both = group_advantages(jnp.concatenate([one, other]))
    np.testing.assert_array_equal(both[:1], group_advantages(one))
    np.testing.assert_array_equal(both[1:], group_advantages(other))


def test_each_sample_is_compared_with_the_others():
    # 1 - 5/2, 2 - 4/2, 3 - 3/2.
    found = leave_one_out_advantages(jnp.array([[1.0, 2, 3]]))
    np.testing.assert_allclose(found, [[-1.5, 0, 1.5]], rtol=1e-6)


def test_a_shift_of_all_rewards_changes_nothing():
    rewards = jnp.array([[0.0, 1, 1, 4]])
    for advantages in (group_advantages, leave_one_out_advantages):
        np.testing.assert_allclose(
            advantages(rewards + 100), advantages(rewards), rtol=1e-4
        )


def test_one_sample_has_no_others():
    np.testing.assert_array_equal(group_advantages(jnp.ones((3, 1))), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="expected >= 2 samples a group, got 1"):
        leave_one_out_advantages(jnp.ones((3, 1)))
