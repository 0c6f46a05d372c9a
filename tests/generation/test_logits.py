"""The distribution that is sampled, and the draws from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.config import SamplingConfig
from sophia_jax.generation.logits import (
    draw_tokens,
    keep_top_k,
    keep_top_p,
    sampling_logits,
)

PROBS = np.array([0.15, 0.5, 0.05, 0.3])


def sampling(**settings):
    return SamplingConfig(max_new_tokens=1, **settings)


def kept(logits):
    return np.flatnonzero(np.isfinite(np.asarray(logits))).tolist()


def probs(logits):
    return np.asarray(jax.nn.softmax(logits))


def test_without_options_the_model_s_own_distribution_is_sampled():
    logits = sampling_logits(jnp.log(PROBS), sampling())
    np.testing.assert_allclose(probs(logits), PROBS, rtol=1e-6)


def test_temperature_divides_the_logits():
    # At temperature 1/2 probabilities are squared: 0.0225, 0.25, 0.0025, 0.09 of 0.365.
    logits = sampling_logits(jnp.log(PROBS), sampling(temperature=0.5))
    squared = np.array([0.0225, 0.25, 0.0025, 0.09]) / 0.365
    np.testing.assert_allclose(probs(logits), squared, rtol=1e-5)


def test_top_k_keeps_the_likeliest_and_their_ratio():
    logits = sampling_logits(jnp.log(PROBS), sampling(top_k=2))
    assert kept(logits) == [1, 3]
    np.testing.assert_allclose(probs(logits), [0, 0.625, 0, 0.375], rtol=1e-5)


def test_of_equally_likely_tokens_top_k_keeps_the_first():
    logits = jnp.array([[1.0, 2.0, 2.0, 2.0], [5.0, 5.0, 5.0, 5.0]])
    assert [kept(row) for row in keep_top_k(logits, 2)] == [[1, 2], [0, 1]]


def test_top_k_beyond_the_vocabulary_keeps_all():
    assert kept(keep_top_k(jnp.log(PROBS), 100)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("p", "expected"),
    # Likeliest first: 0.5, 0.3, 0.15, 0.05, so 0.5, 0.8, 0.95 and 1 together.
    [(0.01, [1]), (0.49, [1]), (0.51, [1, 3]), (0.79, [1, 3]), (0.9, [0, 1, 3])],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(p, expected):
    assert kept(keep_top_p(jnp.log(PROBS), p)) == expected


def test_equally_likely_tokens_pass_top_p_together():
    # 0.4 alone falls short of 0.5, and one of three equals more would do: all stay.
    tied = jnp.log(jnp.array([0.2, 0.4, 0.2, 0.2]))
    assert kept(keep_top_p(tied, 0.5)) == [0, 1, 2, 3]
    assert kept(keep_top_p(tied, 0.3)) == [1]


def test_top_p_follows_a_permutation_of_the_vocabulary(key):
    logits = 3 * jax.random.normal(key, (16, 40))
    order = jax.random.permutation(key, 40)
    np.testing.assert_array_equal(
        keep_top_p(logits[:, order], 0.8), keep_top_p(logits, 0.8)[:, order]
    )


def test_what_top_p_leaves_out_is_less_than_1_minus_p(key):
    logits = 3 * jax.random.normal(key, (200, 40))
    full = np.asarray(jax.nn.softmax(logits))
    left = np.isfinite(np.asarray(keep_top_p(logits, 0.8)))
    mass = np.sum(full, axis=-1, where=left)
    least = np.min(full, axis=-1, where=left, initial=1)
    assert np.all(mass >= 0.8 - 1e-6)
    assert np.all(mass - least < 0.8)  # without its least token it falls short


def test_bans_come_before_top_k():
    logits = sampling_logits(jnp.log(PROBS), sampling(top_k=2), (1,))
    assert kept(logits) == [0, 3]


def test_top_p_is_of_the_distribution_without_the_banned_tokens():
    # Without token 1: 0.3, 0.1, 0.6 for tokens 0, 2, 3, and 0.6 alone reaches 0.55.
    assert kept(sampling_logits(jnp.log(PROBS), sampling(top_p=0.55), (1,))) == [3]


def test_top_p_is_of_the_distribution_at_the_temperature():
    # Squared, token 1 has 0.25 / 0.365 = 0.685 by itself.
    logits = jnp.log(PROBS)
    assert kept(sampling_logits(logits, sampling(top_p=0.65))) == [1, 3]
    cold = sampling(top_p=0.65, temperature=0.5)
    assert kept(sampling_logits(logits, cold)) == [1]


def test_at_temperature_0_the_first_likeliest_token_is_sure(key):
    logits = jnp.array([[0.0, 2.0, 1.0, 2.0], [3.0, 0.0, 0.0, 0.0]])
    keys = jax.random.split(key, 2)
    tokens, behavior, policy = draw_tokens(keys, logits, sampling(temperature=0.0))
    assert tokens.tolist() == [1, 0]
    assert behavior.tolist() == [0.0, 0.0]
    # log e^2 / (1 + e + 2 e^2) and log e^3 / (3 + e^3)
    expected = [2 - np.log(1 + np.e + 2 * np.e**2), 3 - np.log(3 + np.e**3)]
    np.testing.assert_allclose(policy, expected, rtol=1e-6)


def test_log_probs_are_of_the_sampled_and_of_the_full_distribution(key):
    num_draws = 64
    settings = sampling(temperature=0.5, top_p=0.9)
    logits = jnp.broadcast_to(jnp.log(PROBS)[None], (num_draws, 4))
    keys = jax.random.split(key, num_draws)
    tokens, behavior, policy = draw_tokens(keys, logits, settings)
    # Squared: 0.0616, 0.6849, 0.0068, 0.2466: tokens 1 and 3 reach 0.9.
    sampled = np.array([0, 0.25, 0, 0.09]) / 0.34
    assert set(tokens.tolist()) == {1, 3}
    np.testing.assert_allclose(behavior, np.log(sampled[tokens]), rtol=1e-5)
    np.testing.assert_allclose(policy, np.log(PROBS[tokens]), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, PROBS),
        ({"temperature": 0.5}, np.array([0.0225, 0.25, 0.0025, 0.09]) / 0.365),
        ({"top_p": 0.9}, np.array([0.15, 0.5, 0, 0.3]) / 0.95),
        ({"top_k": 2}, np.array([0, 0.5, 0, 0.3]) / 0.8),
    ],
)
def test_draws_follow_the_closed_form(key, settings, expected):
    num_draws = 40_000
    logits = jnp.broadcast_to(jnp.log(PROBS)[None], (num_draws, 4))
    keys = jax.random.split(key, num_draws)
    tokens, _, _ = draw_tokens(keys, logits, sampling(**settings))
    counts = np.bincount(tokens, minlength=4)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    wanted = num_draws * expected[possible]
    chi_squared = np.sum((counts[possible] - wanted) ** 2 / wanted)
    # Mean df, variance 2 df: 5 standard deviations above the mean.
    freedom = possible.sum() - 1
    assert chi_squared < freedom + 5 * np.sqrt(2 * freedom)


def test_a_row_s_draw_depends_on_its_own_key_alone(key):
    logits = jax.random.normal(key, (8, 30))
    keys = jax.random.split(key, 8)
    tokens, _, _ = draw_tokens(keys, logits, sampling())
    backwards, _, _ = draw_tokens(keys[::-1], logits[::-1], sampling())
    np.testing.assert_array_equal(tokens, backwards[::-1])
    other, _, _ = draw_tokens(
        jax.random.split(jax.random.key(9), 8), logits, sampling()
    )
    assert tokens.tolist() != other.tolist()


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"top_p": 0.5}])
def test_a_banned_token_is_never_drawn_however_large_its_logit(key, settings):
    logits = jnp.zeros((500, 5)).at[:, 2].set(3e38)
    tokens, behavior, policy = draw_tokens(
        jax.random.split(key, 500), logits, sampling(**settings), (2,)
    )
    assert 2 not in tokens.tolist()
    first_only = settings.get("temperature") == 0
    np.testing.assert_allclose(behavior, 0 if first_only else np.log(0.25), rtol=1e-6)
    np.testing.assert_allclose(policy, -3e38, rtol=1e-6)


def test_half_precision_logits_are_sampled_in_float32(key):
    logits = jax.random.normal(key, (2, 8)).astype(jnp.bfloat16)
    assert sampling_logits(logits, sampling()).dtype == jnp.float32
    _, *log_probs = draw_tokens(jax.random.split(key, 2), logits, sampling())
    assert [values.dtype for values in log_probs] == [jnp.float32] * 2


def test_integer_logits_are_refused():
    with pytest.raises(TypeError, match="logits"):
        sampling_logits(jnp.arange(4), sampling())
