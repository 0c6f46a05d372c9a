"""Samplers by hand and by their distribution, with missing and infinite scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.inference_scaling import (
    best_of_k,
    majority_vote,
    reward_weighted_probs,
    reward_weighted_sample,
    weighted_majority_vote,
)

INF, NAN = np.inf, np.nan


def probs(rewards, temperature):
    given = jnp.array(rewards)
    return np.asarray(reward_weighted_probs(given, temperature=temperature))


traced_probs = jax.jit(lambda r, t: reward_weighted_probs(r, temperature=t))


@pytest.mark.parametrize(
    ("rewards", "temperature", "expected"),
    [
        # e^(log 3 / 1) and e^(log 9 / 2) are 3 times what e^0 is.
        ([0.0, np.log(3.0)], 1.0, [1 / 4, 3 / 4]),
        ([0.0, np.log(9.0), NAN], 2.0, [1 / 4, 3 / 4, 0]),
        ([1.0, 2.0, 2.0, NAN], 0.0, [0, 1 / 2, 1 / 2, 0]),
        ([1.0, 2.0, -INF, NAN], INF, [1 / 3, 1 / 3, 1 / 3, 0]),
        ([1.0, -INF, 1.0], 3.0, [1 / 2, 0, 1 / 2]),
        ([1.0, -INF, NAN], 0.0, [1, 0, 0]),
        ([-INF, -INF, NAN], 1.0, [1 / 2, 1 / 2, 0]),
        ([INF, 5.0, INF, -INF], 1.0, [1 / 2, 0, 1 / 2, 0]),
        ([7.0], 0.3, [1]),
        ([-INF], 0.0, [1]),
        ([NAN, NAN], 1.0, [0, 0]),
        ([NAN, NAN], INF, [0, 0]),
    ],
)
def test_probabilities_by_hand(rewards, temperature, expected):
    # With missing ones beside them, all are one shape.
    missing = 4 - len(rewards)
    rewards, expected = rewards + [NAN] * missing, expected + [0] * missing
    np.testing.assert_allclose(probs(rewards, temperature), expected, atol=1e-6)
    found = traced_probs(jnp.array(rewards), jnp.array(temperature))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_constant_added_to_all_rewards_changes_nothing():
    rewards = np.array([0.0, 0.5, 2.0, NAN, -INF], np.float32)
    for temperature in (0.0, 0.25, 4.0, INF):
        moved = probs(rewards + 1024, temperature)
        np.testing.assert_array_equal(moved, probs(rewards, temperature))


def test_a_low_temperature_overflows_nowhere():
    np.testing.assert_array_equal(probs([-1e38, 0.0, 1e38], 1e-30), [0, 0, 1])


def test_rows_are_independent_and_map_like_a_loop():
    rewards = jnp.array([[[0.0, 1.0], [NAN, 3.0]], [[NAN, NAN], [2.0, 2.0]]])
    whole = reward_weighted_probs(rewards, temperature=0.7)
    mapped = jax.vmap(jax.vmap(functools.partial(probs_at, 0.7)))(rewards)
    np.testing.assert_allclose(whole, mapped, atol=1e-7)
    np.testing.assert_array_equal(best_of_k(rewards), [[1, 1], [-1, 0]])


def probs_at(temperature, row):
    return reward_weighted_probs(row, temperature=temperature)


def test_half_precision_is_weighed_in_single():
    rewards = jnp.array([0.0, 1.0], jnp.bfloat16)
    found = reward_weighted_probs(rewards, temperature=1.0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[1], 1 / (1 + np.exp(-1)), rtol=1e-6)


def test_gradients_are_those_of_a_softmax_and_finite_beside_missing_scores():
    rewards = jnp.array([0.2, 1.0, NAN, -INF, 1.0])

    def first(rewards, temperature):
        return reward_weighted_probs(rewards, temperature=temperature)[0]

    into_rewards, into_temperature = jax.grad(first, (0, 1))(rewards, 2.0)
    p = np.asarray(reward_weighted_probs(rewards, temperature=2.0))
    expected = p[0] * ((np.arange(5) == 0) - p) / 2  # dp_0 / dr_j
    np.testing.assert_allclose(into_rewards, expected, atol=1e-6)
    known = np.array([0.2, 1.0, 0, 0, 1.0])
    np.testing.assert_allclose(into_temperature, -(expected @ known) / 2, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0, INF])
def test_draws_follow_the_closed_form(key, temperature):
    rewards = jnp.array([0.3, 1.0, NAN, -0.5, 1.0])
    num_draws = 40_000
    rows = jnp.broadcast_to(rewards, (num_draws, 5))
    drawn = reward_weighted_sample(key, rows, temperature=temperature)
    counts = np.bincount(np.asarray(drawn), minlength=5)
    expected = probs(rewards, temperature) * num_draws
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    chi_squared = ((counts - expected)[kept] ** 2 / expected[kept]).sum()
    assert chi_squared < 17  # of 3 degrees of freedom; above with probability 7e-4


def test_draws_from_nothing_are_told(key):
    rewards = jnp.array([[NAN, NAN], [NAN, 0.0]])
    drawn = reward_weighted_sample(key, rewards, temperature=1.0)
    np.testing.assert_array_equal(drawn, [-1, 1])


def test_a_draw_under_jit_is_the_draw_outside(key):
    rewards = jnp.array([0.3, 1.0, NAN])
    inside = jax.jit(lambda t: reward_weighted_sample(key, rewards, temperature=t))
    assert inside(0.8) == reward_weighted_sample(key, rewards, temperature=0.8)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([0.0, 2.0, 2.0], 1),
        ([NAN, -INF], 1),
        ([NAN, 1.0, INF], 2),
        ([NAN], -1),
    ],
)
def test_best_of_k_is_the_first_of_the_best(rewards, expected):
    assert best_of_k(jnp.array(rewards)) == expected
    assert jax.jit(best_of_k)(jnp.array(rewards)) == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([3, 5, 5], 5),
        ([7, 2, 2, 7], 7),
        ([-1, -1, 4], 4),
        ([-1, -2], -1),
        ([9], 9),
    ],
)
def test_the_majority_by_hand(ids, expected):
    assert majority_vote(jnp.array(ids)) == expected


def test_weights_decide_a_vote():
    ids = jnp.array([[1, 2, 2, 3], [1, 2, 2, 3], [4, -1, 5, 5]])
    weights = jnp.array(
        [[0.9, 0.2, 0.3, 0.1], [0.5, 0.25, 0.25, NAN], [NAN, 9.0, 0.0, 0.0]]
    )
    vote = jax.jit(weighted_majority_vote)
    np.testing.assert_array_equal(vote(ids, weights), [1, 1, 5])
    np.testing.assert_array_equal(weighted_majority_vote(ids, weights), [1, 1, 5])


def test_what_is_out_of_range_is_refused_or_told():
    rewards = jnp.array([1.0, 2.0])
    for bad in (-0.5, NAN):
        with pytest.raises(ValueError, match="temperature: expected >= 0, got"):
            reward_weighted_probs(rewards, temperature=bad)
        traced = jax.jit(lambda t: reward_weighted_probs(rewards, temperature=t))(bad)
        assert np.isnan(traced).all()
    for function in (best_of_k, lambda r: reward_weighted_probs(r, temperature=1.0)):
        with pytest.raises(ValueError, match="rewards: expected at least 1 sample"):
            function(jnp.zeros((2, 0)))
    with pytest.raises(TypeError):
        best_of_k(jnp.array([1, 2]))
    with pytest.raises(TypeError):
        reward_weighted_probs(jnp.array(1.0), temperature=1.0)
    with pytest.raises(ValueError, match=r"weights: expected >= 0, got -1"):
        weighted_majority_vote(jnp.array([1, 2]), jnp.array([-1.0, NAN]))
    with pytest.raises(TypeError):
        weighted_majority_vote(jnp.array([1, 2]), jnp.array([1.0]))
