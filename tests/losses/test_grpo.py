"""GRPO's token loss by hand, where it clips, its KL term and its reductions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.losses import (
    constant_length_mean,
    grpo_loss,
    grpo_token_loss,
    sequence_mean,
    token_mean,
)


def one_token(log_ratio, advantage, **options):
    """Value and gradient by the policy's log-probability, of one token."""

    def loss(policy):
        return grpo_token_loss(
            policy[None, None],
            jnp.array([[-1.0]]),
            jnp.array([advantage]),
            jnp.array([[True]]),
            **options,
        )[0, 0]

    return jax.value_and_grad(loss)(jnp.float32(-1.0 + log_ratio))


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # has risen enough
        (0.5, 2.0, -1.0, -1.0),  # may come back
        (0.5, -2.0, 1.6, 0.0),  # has fallen enough
        (1.5, -2.0, 3.0, 3.0),  # must come down
    ],
)
def test_a_ratio_earns_nothing_beyond_its_clip(ratio, advantage, value, slope):
    found, gradient = one_token(np.log(ratio), advantage)
    np.testing.assert_allclose([found, gradient], [value, slope], rtol=1e-5)


def test_the_two_clips_differ():
    # DAPO's 0.28 above leaves 1.25 unclipped; 0.2 below clips 0.75.
    high, _ = one_token(np.log(1.25), 1.0, clip_high=0.28)
    low, _ = one_token(np.log(0.75), -1.0, clip_high=0.28)
    np.testing.assert_allclose([high, low], [-1.25, 0.8], rtol=1e-6)


def test_on_policy_the_gradient_is_that_of_reinforce():
    rng = np.random.default_rng(0)
    log_probs = jnp.asarray(rng.uniform(-3, -0.1, (4, 5)), jnp.float32)
    mask = jnp.asarray(rng.random((4, 5)) < 0.8)
    advantages = jnp.asarray(rng.normal(size=4), jnp.float32)

    def grpo(policy):
        return grpo_token_loss(policy, log_probs, advantages, mask).sum()

    def reinforce(policy):
        return -jnp.sum(jnp.where(mask, advantages[:, None] * policy, 0))

    np.testing.assert_allclose(
        jax.grad(grpo)(log_probs), jax.grad(reinforce)(log_probs), rtol=1e-5
    )


def test_the_kl_term_by_hand():
    # d = log 2: 2 - log 2 - 1 = 0.306853, times 0.5; its slope is -(e^d - 1) = -1.
    options = {"reference_log_probs": jnp.array([[-1.0 + np.log(2.0)]])}
    value, slope = one_token(0.0, 0.0, kl_coefficient=0.5, **options)
    np.testing.assert_allclose([value, slope], [0.153426, -0.5], rtol=1e-5)


def test_the_kl_term_averages_to_the_divergence():
    rng = np.random.default_rng(1)
    policy, reference = rng.dirichlet(np.ones(8), 2)
    tokens = grpo_token_loss(
        jnp.log(jnp.asarray(policy, jnp.float32))[None],
        jnp.log(jnp.asarray(policy, jnp.float32))[None],
        jnp.zeros(1),
        jnp.ones((1, 8), bool),
        reference_log_probs=jnp.log(jnp.asarray(reference, jnp.float32))[None],
        kl_coefficient=1.0,
    )
    exact = np.sum(policy * np.log(policy / reference))
    np.testing.assert_allclose(policy @ np.asarray(tokens[0]), exact, rtol=1e-4)


def test_far_apart_policies_stay_finite():
    values = [
        one_token(ratio, advantage, kl_coefficient=0.1, reference_log_probs=reference)
        for ratio in (-1e4, -200.0, 200.0, 1e4)
        for advantage in (-1.0, 1.0)
        for reference in (jnp.array([[-1e4]]), jnp.array([[0.0]]))
    ]
    assert np.isfinite(values).all()


def test_what_is_masked_is_not_read():
    mask = jnp.array([[True, False]])
    bad = jnp.array([[-1.0, jnp.nan]])

    def loss(policy):
        return grpo_loss(
            policy, bad, jnp.ones(1), mask, reference_log_probs=bad, kl_coefficient=0.1
        ).sum()

    value, gradient = jax.value_and_grad(loss)(jnp.array([[-1.0, jnp.inf]]))
    np.testing.assert_allclose(value, -1)
    np.testing.assert_allclose(gradient, [[-1, 0]])


TOKENS = jnp.array([[1.0, 2, 3], [6.0, 9, 9], [9.0, 9, 9]])
MASK = jnp.array([[True, True, True], [True, False, False], [False] * 3])


def test_reductions_by_hand():
    np.testing.assert_allclose(sequence_mean(TOKENS, MASK), [2, 6, 0])
    # 4 tokens in 2 sequences: a mean length of 2; their mean is (6 + 6) / 4 = 3.
    by_tokens = token_mean(TOKENS, MASK)
    np.testing.assert_allclose(by_tokens, [3, 3, 0])
    assert by_tokens[:2].mean() == TOKENS[MASK].mean()
    np.testing.assert_allclose(token_mean(TOKENS, MASK, mean_length=4.0), [1.5, 1.5, 0])
    np.testing.assert_allclose(
        constant_length_mean(TOKENS, MASK, length=12), [0.5, 0.5, 0]
    )


def test_grpo_is_the_mean_of_its_tokens():
    rng = np.random.default_rng(2)
    policy, behavior = jnp.asarray(rng.uniform(-3, 0, (2, 3, 3)), jnp.float32)
    advantages = jnp.array([1.0, -2.0, 3.0])
    tokens = grpo_token_loss(policy, behavior, advantages, MASK)
    np.testing.assert_array_equal(
        grpo_loss(policy, behavior, advantages, MASK), sequence_mean(tokens, MASK)
    )


def test_options_out_of_range_are_refused():
    given = jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.ones(1), jnp.ones((1, 1), bool)
    for name in ("clip_low", "clip_high", "kl_coefficient"):
        with pytest.raises(ValueError, match=f"{name}: expected >= 0, got -0.1"):
            grpo_token_loss(*given, **{name: -0.1})
    with pytest.raises(ValueError, match="reference_log_probs: expected some"):
        grpo_token_loss(*given, kl_coefficient=0.1)
    with pytest.raises(ValueError, match="length: expected > 0 tokens, got 0"):
        constant_length_mean(jnp.zeros((1, 1)), jnp.ones((1, 1), bool), length=0)
    with pytest.raises(TypeError):
        grpo_token_loss(given[0], jnp.zeros((1, 2)), *given[2:])
