"""The SOPHIA loss against hand values, its limit, padding and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.losses import sft_loss, sophia_loss, token_log_probs


@pytest.fixture
def batch():
    log_probs = jnp.array([[-1.0, -2.0, -9.0], [-4.0, -5.0, -6.0]])
    mask = jnp.array([[True, True, False], [True, True, True]])
    return log_probs, mask


def test_the_loss_is_reward_times_negative_log_likelihood(batch):
    # 0.5 (1 + 2) = 1.5 and 2 (4 + 5 + 6) = 30.
    loss = sophia_loss(*batch, jnp.array([0.5, 2.0]))
    np.testing.assert_array_equal(loss, [1.5, 30.0])


def test_reward_one_is_supervised_fine_tuning(batch):
    np.testing.assert_array_equal(sophia_loss(*batch, jnp.ones(2)), sft_loss(*batch))


def test_reward_zero_leaves_no_gradient(batch):
    log_probs, mask = batch
    gradient = jax.grad(lambda x: sophia_loss(x, mask, jnp.zeros(2)).sum())(log_probs)
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


def test_the_gradient_is_the_policy_gradient_of_the_logits():
    # d/dz of -R log softmax(z)[y] is -R (onehot(y) - softmax(z)). With two equal
    # logits, y = 0 and R = 3 that is -3 (1 - 1/2, 0 - 1/2) = (-1.5, 1.5).
    def loss(logits):
        log_probs = token_log_probs(logits, jnp.array([[0]]))
        return sophia_loss(log_probs, jnp.array([[True]]), jnp.array([3.0])).sum()

    gradient = jax.grad(loss)(jnp.zeros((1, 1, 2)))
    np.testing.assert_allclose(gradient, [[[-1.5, 1.5]]], rtol=1e-6)


def test_the_gradient_agrees_with_finite_differences(batch):
    log_probs, mask = batch
    reward = jnp.array([0.5, 2.0])

    def loss(x):
        return float(sophia_loss(x, mask, reward).sum())

    gradient = jax.grad(lambda x: sophia_loss(x, mask, reward).sum())(log_probs)
    step = 2.0**-6  # the loss is linear and these numbers are exact in binary
    for row, column in np.ndindex(2, 3):
        nudge = jnp.zeros((2, 3)).at[row, column].set(step)
        slope = (loss(log_probs + nudge) - loss(log_probs - nudge)) / (2 * step)
        assert slope == gradient[row, column]


def test_the_reward_is_a_constant(batch):
    gradient = jax.grad(lambda reward: sophia_loss(*batch, reward).sum())(jnp.ones(2))
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


@pytest.mark.parametrize("padding", [jnp.nan, jnp.inf, -jnp.inf])
def test_padding_reaches_neither_value_nor_gradient(batch, padding):
    log_probs, mask = batch
    reward = jnp.array([0.5, 2.0])
    dirty = jnp.where(mask, log_probs, padding)

    def loss(x):
        return sophia_loss(x, mask, reward).sum()

    assert loss(dirty) == loss(log_probs)
    np.testing.assert_array_equal(jax.grad(loss)(dirty), jax.grad(loss)(log_probs))


def test_an_impossible_token_that_counts_costs_infinitely_much():
    loss = sophia_loss(jnp.array([[-jnp.inf]]), jnp.array([[True]]), jnp.ones(1))
    assert loss[0] == jnp.inf


def test_an_empty_mask_gives_zero(batch):
    log_probs, _ = batch
    loss = sophia_loss(log_probs, jnp.zeros((2, 3), bool), jnp.ones(2))
    np.testing.assert_array_equal(loss, [0.0, 0.0])


def test_sequences_do_not_see_each_other(batch):
    log_probs, mask = batch
    reward = jnp.array([0.5, 2.0])
    both = sophia_loss(log_probs, mask, reward)
    alone = sophia_loss(log_probs[1:], mask[1:], reward[1:])
    np.testing.assert_array_equal(both[1:], alone)


def test_jit_changes_nothing_and_bfloat16_is_summed_in_float32():
    log_probs = jnp.full((1, 1000), -1.0, jnp.bfloat16)
    mask = jnp.ones((1, 1000), bool)
    loss = jax.jit(sophia_loss)(log_probs, mask, jnp.ones(1))
    assert loss.dtype == jnp.float32
    assert loss[0] == 1000.0


@pytest.mark.parametrize(
    "reward", [jnp.ones((2, 1)), jnp.ones(3), jnp.ones(2, jnp.int32)]
)
def test_rewards_of_another_shape_or_dtype_are_refused(batch, reward):
    with pytest.raises(TypeError, match="reward"):
        sophia_loss(*batch, reward)
