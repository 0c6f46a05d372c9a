"""The supervised loss against hand values, padding and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.losses import sft_loss


def test_the_loss_is_minus_the_sum_over_masked_in_tokens():
    # -(-1 - 2) = 3 without the third token; -(-4) = 4.
    log_probs = jnp.array([[-1.0, -2.0, -9.0], [-4.0, -5.0, -6.0]])
    mask = jnp.array([[True, True, False], [True, False, False]])
    np.testing.assert_array_equal(sft_loss(log_probs, mask), [3.0, 4.0])


@pytest.mark.parametrize("padding", [jnp.nan, jnp.inf, -jnp.inf])
def test_padding_reaches_neither_value_nor_gradient(padding):
    log_probs = jnp.array([[-1.0, padding, -2.0]])
    mask = jnp.array([[True, False, True]])
    value, gradient = jax.value_and_grad(lambda x: sft_loss(x, mask).sum())(log_probs)
    assert value == 3.0
    np.testing.assert_array_equal(gradient, [[-1.0, 0.0, -1.0]])


def test_an_empty_mask_gives_zero_loss_and_gradient():
    log_probs = jnp.full((1, 3), -jnp.inf)
    mask = jnp.zeros((1, 3), bool)
    value, gradient = jax.value_and_grad(lambda x: sft_loss(x, mask).sum())(log_probs)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros((1, 3)))


def test_no_sequences_give_no_losses():
    assert sft_loss(jnp.zeros((0, 3)), jnp.zeros((0, 3), bool)).shape == (0,)


def test_bfloat16_tokens_are_summed_in_float32():
    # 1000 tokens of -1: a bfloat16 sum would stop at 256, where 256 + 1 rounds to 256.
    log_probs = jnp.full((1, 1000), -1.0, jnp.bfloat16)
    loss = sft_loss(log_probs, jnp.ones((1, 1000), bool))
    assert loss.dtype == jnp.float32
    assert loss[0] == 1000.0


def test_float_masks_and_other_shapes_are_refused():
    with pytest.raises(TypeError, match="mask"):
        sft_loss(jnp.zeros((1, 3)), jnp.ones((1, 3)))
    with pytest.raises(TypeError, match="mask"):
        sft_loss(jnp.zeros((1, 3)), jnp.ones((1, 1), bool))
