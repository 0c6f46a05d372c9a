"""PPO's advantages by hand and in their limits, its clips, and its critic's loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.losses import (
    generalized_advantages,
    grpo_token_loss,
    ppo_token_loss,
    value_loss,
    whitened,
)

RNG = np.random.default_rng(0)
REWARDS = RNG.normal(size=(3, 4)).astype(np.float32)
VALUES = RNG.normal(size=(3, 4)).astype(np.float32)
MASK = np.arange(4)[None] < np.array([4, 2, 3])[:, None]
EVERYWHERE = np.ones((1, 3), bool)


def test_three_tokens_by_hand():
    # δ = 0.5 * 2 - 1, 0.5 * 4 - 2, 8 - 4 = 0, 0, 4; each A is δ + 0.25 A_next
    found = generalized_advantages(
        np.array([[0.0, 0.0, 8.0]]),
        np.array([[1.0, 2.0, 4.0]]),
        EVERYWHERE,
        discount=0.5,
        decay=0.5,
    )
    np.testing.assert_allclose(found, [[0.25, 1.0, 4.0]])


def test_without_decay_they_are_returns_less_values():
    found = generalized_advantages(REWARDS, VALUES, MASK, discount=0.9, decay=1.0)
    for row, length in enumerate(MASK.sum(1)):
        for token in range(length):
            later = REWARDS[row, token:length] * 0.9 ** np.arange(length - token)
            expected = later.sum() - VALUES[row, token]
            assert found[row, token] == pytest.approx(expected, rel=1e-5)


def test_with_all_decay_they_are_errors_of_one_step():
    found = generalized_advantages(REWARDS, VALUES, MASK, discount=0.9, decay=0.0)
    ended = np.where(MASK, VALUES, 0)
    after = np.pad(ended[:, 1:], ((0, 0), (0, 1)))
    expected = np.where(MASK, REWARDS + 0.9 * after - VALUES, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_critic_that_is_right_leaves_nothing_to_learn():
    rewards = np.array([[0.0, 0.0, 8.0]])
    found = generalized_advantages(rewards, np.full((1, 3), 8.0), EVERYWHERE, decay=0.7)
    np.testing.assert_allclose(found, 0)


def test_padding_is_never_read():
    known = [np.where(MASK, x, np.nan).astype(np.float32) for x in (REWARDS, VALUES)]
    found = generalized_advantages(*known, MASK)
    np.testing.assert_array_equal(found, generalized_advantages(REWARDS, VALUES, MASK))
    assert not np.asarray(found)[~MASK].any()


def test_advantages_teach_the_critic_nothing():
    gradient = jax.grad(lambda v: generalized_advantages(REWARDS, v, MASK).sum())(
        VALUES
    )
    assert not gradient.any()


@pytest.mark.parametrize(
    "options", [{"discount": 1.1}, {"decay": -0.1}, {"decay": float("nan")}]
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(
        ValueError, match=rf"{next(iter(options))}: expected in \[0, 1\]"
    ):
        generalized_advantages(REWARDS, VALUES, MASK, **options)


def test_whitened_advantages_have_mean_0_and_deviation_1():
    found = np.asarray(whitened(np.where(MASK, REWARDS, np.nan) * 10, MASK))
    assert found[MASK].mean() == pytest.approx(0, abs=1e-6)
    assert found[MASK].std() == pytest.approx(1, rel=1e-4)
    assert not found[~MASK].any()


def test_equal_advantages_are_whitened_to_nothing():
    assert not whitened(np.full((3, 4), 0.1, np.float32), MASK).any()
    assert not whitened(REWARDS, np.zeros((3, 4), bool)).any()


def test_each_token_has_its_own_advantage():
    behavior = np.zeros((1, 3), np.float32)
    ratio = np.array([[1.5, 1.5, 0.9]], np.float32)
    found = ppo_token_loss(
        np.log(ratio), behavior, np.array([[1.0, -1.0, 2.0]]), EVERYWHERE, clip=0.2
    )
    np.testing.assert_allclose(found, [[-1.2, 1.5, -1.8]], rtol=1e-5)


def test_one_advantage_for_all_tokens_makes_it_that_of_grpo():
    policy, behavior = np.log(RNG.uniform(0.1, 1, (2, 3, 4))).astype(np.float32)
    each = RNG.normal(size=3).astype(np.float32)
    of_tokens = np.repeat(each[:, None], 4, axis=1)
    np.testing.assert_array_equal(
        ppo_token_loss(policy, behavior, of_tokens, MASK),
        grpo_token_loss(policy, behavior, each, MASK),
    )


def test_an_advantage_on_padding_is_never_read():
    advantages = np.where(MASK, 1.0, np.nan).astype(np.float32)

    def total(policy):
        return ppo_token_loss(policy, np.zeros_like(VALUES), advantages, MASK).sum()

    loss, gradient = jax.value_and_grad(total)(jnp.zeros((3, 4)))
    assert loss == -MASK.sum()
    np.testing.assert_allclose(gradient, np.where(MASK, -1.0, 0))


@pytest.mark.parametrize(
    ("value", "loss", "slope"),
    [
        (1.1, 0.5 * 0.9**2, -0.9),  # within the clip: the squared error
        (1.5, 0.5 * 0.8**2, 0.0),  # nearer than the clip allows: no more to earn
        (0.5, 0.5 * 1.5**2, -1.5),  # went the wrong way: comes back
    ],
)
def test_the_critic_earns_nothing_beyond_its_clip(value, loss, slope):
    one = jnp.ones((1, 1), bool)

    def of(value):
        old, returns = jnp.ones((1, 1)), jnp.full((1, 1), 2.0)
        return value_loss(value[None, None], old, returns, one, clip=0.2)[0]

    found = jax.value_and_grad(of)(jnp.float32(value))
    np.testing.assert_allclose(found, [loss, slope], rtol=1e-5, atol=1e-7)


def test_without_a_clip_it_is_half_the_squared_error():
    found = value_loss(VALUES, VALUES + 9, REWARDS, MASK, clip=np.inf)
    squares = np.where(MASK, (VALUES - REWARDS) ** 2 / 2, 0).sum(1) / MASK.sum(1)
    np.testing.assert_allclose(found, squares, rtol=1e-5)


def test_a_clip_of_nothing_is_refused():
    with pytest.raises(ValueError, match="clip: expected > 0, got 0"):
        value_loss(VALUES, VALUES, REWARDS, MASK, clip=0)
