"""Bradley and Terry's likelihood: by hand, at its limits, and beside f-DPO's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.losses import REVERSE_KL, f_dpo_loss, preference_loss


def test_a_loss_by_hand():
    # σ(log 3) = 3/4, σ(0) = 1/2, σ(-log 3) = 1/4
    found = preference_loss(
        jnp.log(jnp.array([3.0, 2.0, 1.0])), jnp.log(jnp.array([1.0, 2.0, 3.0]))
    )
    np.testing.assert_allclose(found, np.log([4 / 3, 2, 4]), rtol=1e-6)


def test_far_apart_it_is_the_difference_or_nothing():
    found = preference_loss(jnp.array([500.0, -500.0]), jnp.array([-500.0, 500.0]))
    np.testing.assert_array_equal(found, [0, 1000])


def test_it_is_that_of_the_rewards_that_a_policy_tells():
    chosen, rejected = jnp.array([0.3, -2.0]), jnp.array([-0.4, 1.0])
    np.testing.assert_allclose(
        preference_loss(0.7 * chosen, 0.7 * rejected),
        f_dpo_loss(chosen, rejected, REVERSE_KL, beta=0.7),
        rtol=1e-6,
    )


def test_the_less_sure_it_was_the_more_it_learns():
    gradient = jax.grad(lambda r: preference_loss(r, jnp.zeros(3)).sum())
    found = gradient(jnp.array([-5.0, 0.0, 5.0]))
    np.testing.assert_allclose(found, -1 / (1 + np.exp([-5.0, 0, 5])), rtol=1e-5)


def test_rewards_of_other_shapes_are_refused():
    with pytest.raises(TypeError):
        preference_loss(jnp.zeros(3), jnp.zeros(2))
