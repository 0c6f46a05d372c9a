"""Importance weights by hand and in the mean, and prices of divergences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.losses import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    advantage_weights,
    alpha_divergence,
    divergence_loss,
    geometric_mean_weights,
    penalized_rewards,
    sequence_log_ratio,
    sequence_weights,
    sophia_loss,
    token_weights,
    weighted_sophia_loss,
)

POLICY = jnp.log(jnp.array([[0.5, 0.4, 0.9], [0.2, 0.3, 0.9]]))
BEHAVIOR = jnp.log(jnp.array([[0.25, 0.8, 0.9], [0.4, 0.3, 0.9]]))
MASK = jnp.array([[True, True, False], [True, True, False]])
DIVERGENCES = (REVERSE_KL, FORWARD_KL, JENSEN_SHANNON, alpha_divergence(0.4))


def test_log_ratios_are_summed_over_the_answer():
    # log(2 · 1/2) = 0 and log(1/2 · 1).
    found = sequence_log_ratio(POLICY, BEHAVIOR, MASK)
    np.testing.assert_allclose(found, [0, -np.log(2)], atol=1e-6)


def test_weights_by_hand():
    tokens = token_weights(POLICY, BEHAVIOR, MASK, largest=1.5)
    np.testing.assert_allclose(tokens, [[1.5, 0.5, 0], [0.5, 1, 0]], rtol=1e-6)
    whole = sequence_weights(POLICY, BEHAVIOR, MASK, largest=10.0)
    np.testing.assert_allclose(whole, [[1, 1, 0], [0.5, 0.5, 0]], rtol=1e-6)
    root = geometric_mean_weights(POLICY, BEHAVIOR, MASK, largest=10.0)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(root, [[1, 1, 0], [half, half, 0]], rtol=1e-6)


def test_weights_of_one_are_the_paper_s_gradient():
    reward = jnp.array([1.0, 0.5])
    np.testing.assert_allclose(
        weighted_sophia_loss(POLICY, MASK, reward, jnp.ones_like(POLICY)),
        sophia_loss(POLICY, MASK, reward),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "weights", [sequence_weights, geometric_mean_weights, token_weights]
)
def test_weights_on_policy_are_one_and_no_gradient_flows_through(weights):
    np.testing.assert_allclose(
        weights(POLICY, POLICY, MASK, largest=2.0), MASK.astype(float), rtol=1e-6
    )

    def total(policy):
        return weights(policy, BEHAVIOR, MASK, largest=9.0).sum()

    np.testing.assert_array_equal(jax.grad(total)(POLICY), np.zeros_like(POLICY))


def two_token_answers(logits):
    """Log-probabilities of both tokens of all nine answers of two words out of three;
    the second word depends on the first."""
    first = jax.nn.log_softmax(logits[0])
    second = jax.nn.log_softmax(logits[1:], axis=-1)
    return jnp.stack([jnp.repeat(first, 3), second.reshape(-1)], axis=1)


def test_with_whole_sequences_the_gradient_is_that_of_the_policy_s_own_samples():
    # Σ_y μ(y) w ∇... = ∇ Σ_y π(y) R(y), with the sum over all answers.
    rng = np.random.default_rng(0)
    logits, other = jnp.asarray(rng.normal(size=(2, 4, 3)), jnp.float32)
    reward = jnp.asarray(rng.random(9), jnp.float32)
    mask = jnp.ones((9, 2), bool)
    behavior = two_token_answers(other)

    def expected(logits):
        return -jnp.sum(jnp.exp(two_token_answers(logits).sum(axis=1)) * reward)

    def surrogate(logits):
        policy = two_token_answers(logits)
        weights = sequence_weights(policy, behavior, mask, largest=1e6)
        losses = weighted_sophia_loss(policy, mask, reward, weights)
        return jnp.sum(jnp.exp(behavior.sum(axis=1)) * losses)

    np.testing.assert_allclose(
        jax.grad(surrogate)(logits), jax.grad(expected)(logits), atol=1e-6
    )


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda d: d.name)
def test_prices_have_the_gradient_of_the_divergence(divergence):
    rng = np.random.default_rng(1)
    logits, other = jnp.asarray(rng.normal(size=(2, 4, 3)), jnp.float32)
    mask = jnp.ones((9, 2), bool)
    reference = two_token_answers(other)
    policy = jnp.exp(two_token_answers(logits).sum(axis=1))

    def exact(logits):
        ratio = (two_token_answers(logits) - reference).sum(axis=1)
        probs = jnp.exp(two_token_answers(logits).sum(axis=1))
        return jnp.sum(probs * divergence.penalty(ratio))

    def surrogate(logits):
        losses = divergence_loss(two_token_answers(logits), reference, mask, divergence)
        return jnp.sum(policy * losses)

    def penalized(logits):  # of the same policy gradient, by the reward
        log_probs = two_token_answers(logits)
        ratio = (log_probs - reference).sum(axis=1)
        rewards = penalized_rewards(jnp.zeros(9), ratio, divergence, beta=1.0)
        return -jnp.sum(policy * rewards * log_probs.sum(axis=1))

    gradient = jax.grad(exact)(logits)
    for other_way in (surrogate, penalized):
        np.testing.assert_allclose(jax.grad(other_way)(logits), gradient, atol=2e-5)


def test_advantage_weights_by_hand():
    found = advantage_weights(
        jnp.array([0.0, 1.0, -1.0, 99.0]), temperature=0.5, largest=20.0
    )
    np.testing.assert_allclose(found, [1, np.exp(2), np.exp(-2), 20], rtol=1e-6)


def test_what_is_masked_is_not_read():
    bad = POLICY.at[:, 2].set(jnp.nan)
    for weights in (sequence_weights, geometric_mean_weights, token_weights):
        found = weights(bad, bad, MASK, largest=1.0)
        np.testing.assert_allclose(found, MASK.astype(float))

    def total(policy):
        return weighted_sophia_loss(policy, MASK, jnp.ones(2), bad).sum()

    assert np.isfinite(jax.grad(total)(bad)).all()


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="largest: expected > 0, got 0"):
        token_weights(POLICY, BEHAVIOR, MASK, largest=0)
    with pytest.raises(ValueError, match="temperature: expected > 0, got 0"):
        advantage_weights(jnp.zeros(1), temperature=0, largest=1.0)
    with pytest.raises(ValueError, match="beta: expected >= 0, got -1"):
        penalized_rewards(jnp.zeros(1), jnp.zeros(1), REVERSE_KL, beta=-1)
