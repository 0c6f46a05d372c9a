"""The exact error against Monte Carlo, direct integrals, and limits in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from sophia_jax.inference_scaling import reward_weighted_probs
from sophia_jax.inference_scaling.theory import (
    expected_error,
    infinite_samples_error,
    samples_slope,
)

CASES = np.array([(0.2, -1.8, 1.0), (0.0, 0.0, 0.5), (-1.0, 0.1, 2.0), (0.4, 3.0, 1.0)])
TS = np.array([1e-3, 1e-2, 0.1, 1.0, 30.0, 1e3])  # t = T / 2s²
KS = np.array([1.0, 2.0, 10.0, 1e4])


def error(teacher_gap, reward_gap, predictive_std, num_samples, temperature):
    return expected_error(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=predictive_std,
        num_samples=num_samples,
        temperature=temperature,
    )


@pytest.fixture(scope="module")
def found():
    """δ[case, t, k], the first t being 0."""
    gaps = (column[:, None, None] for column in CASES.T)
    teacher_gap, reward_gap, spread = gaps
    temperature = 2 * spread**2 * np.append(0, TS)[None, :, None]
    with jax.enable_x64(True):
        table = error(teacher_gap, reward_gap, spread, KS[None, None], temperature)
        return np.asarray(table)


def test_one_answer_is_any_answer(found):
    random = CASES[:, 2] ** 2 + CASES[:, 0] ** 2
    np.testing.assert_allclose(found[:, :, 0] / random[:, None], 1, atol=2e-7)


def direct_of_two(teacher_gap, reward_gap, spread, temperature):
    """2 E[h_1 P(1 is taken)], by summing over both answers."""
    nodes, weights = np.polynomial.legendre.leggauss(300)
    first = np.concatenate([4 * nodes - 4, 4 * nodes + 4])  # it has a kink at 0
    second = np.arange(-8, 8, 4e-4)
    judged = [(spread * x + reward_gap) ** 2 for x in (first, second)]
    exponent = (judged[1][None] - judged[0][:, None]) / temperature
    taken = 1 / (1 + np.exp(-np.clip(exponent, -700, 700)))
    chance = taken @ norm.pdf(second) * 4e-4
    error = (spread * first + teacher_gap) ** 2
    return 2 * np.sum(4 * np.tile(weights, 2) * norm.pdf(first) * error * chance)


@pytest.mark.parametrize("t", [1, 4])
def test_two_answers_are_the_direct_double_sum(found, t):
    for case, row in zip(CASES, found, strict=True):
        expected = direct_of_two(*case, 2 * case[2] ** 2 * TS[t - 1])
        np.testing.assert_allclose(row[t, 1], expected, rtol=2e-7)


def brute_force(teacher_gap, reward_gap, spread, k, temperature):
    """k ∫ du E[h w e^(-uw)] E[e^(-uw)]^(k-1), by many small steps."""
    rho, kappa = reward_gap / spread, (teacher_gap - reward_gap) / spread
    tau = temperature / spread**2
    x = np.arange(-10, 10, min(0.02, np.sqrt(tau) / 40)) + rho
    log_w, density = -(x**2) / tau, norm.pdf(x - rho) * (x[1] - x[0])
    total = 0.0
    for log_u in np.arange(-45, 100 / tau + 5, 0.2):
        rate = np.exp(np.minimum(log_u + log_w, 700))
        left = np.exp((k - 1) * np.log1p(density @ np.expm1(-rate)))
        total += left * (density @ ((x + kappa) ** 2 * rate * np.exp(-rate)))
        if left < 1e-15:
            break
    return spread**2 * k * total * 0.2


@pytest.mark.parametrize(
    ("t", "k"), [(1, 3), (2, 3), (3, 3), (4, 2), (4, 3), (5, 2), (5, 3), (6, 2)]
)
def test_many_answers_are_the_brute_force_sum(found, t, k):
    for case, row in list(zip(CASES, found, strict=True))[:3]:
        expected = brute_force(*case, KS[k], 2 * case[2] ** 2 * TS[t - 1])
        np.testing.assert_allclose(row[t, k], expected, rtol=2e-7)


def test_best_of_k_is_the_integral_over_the_nearest_answer(found):
    nodes, weights = np.polynomial.legendre.leggauss(20)
    ends = np.concatenate([[0], np.geomspace(1e-9, 14, 2001)])
    half = np.diff(ends)[:, None] / 2
    x = ends[:-1, None] + half * (1 + nodes)
    for (teacher_gap, reward_gap, spread), row in zip(CASES, found, strict=True):
        rho, kappa = reward_gap / spread, (teacher_gap - reward_gap) / spread
        nearer = norm.cdf(x - rho) - norm.cdf(-x - rho)
        both = [norm.pdf(x - rho) * (x + kappa) ** 2]
        both += [norm.pdf(x + rho) * (x - kappa) ** 2]
        for k, value in zip(KS, row[0], strict=True):
            left = np.exp((k - 1) * np.log1p(-np.minimum(nearer, 1 - 1e-16)))
            expected = spread**2 * k * np.sum(half * weights * sum(both) * left)
            np.testing.assert_allclose(value, expected, rtol=2e-7)


def test_the_reference_case_of_the_paper_in_float32():
    found = error(0.2, -1.8, 1.0, np.array([1, 2, 3, 4, 8, 256]), 10.0)
    expected = [1.04, 1.023286, 1.038042, 1.047843, 1.064683, 1.082729846]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == jnp.float32
    under_jit = jax.jit(functools.partial(error, 0.2, -1.8, 1.0))
    np.testing.assert_allclose(under_jit(256, 10.0), 1.082729846, rtol=1e-6)


def test_the_samplers_have_the_error_that_is_expected(key):
    answers = 0.3 + 1.2 * jax.random.normal(key, (200_000, 6))  # m = 0.3, s = 1.2
    right, favourite, temperature = -0.2, 0.9, 1.5
    probs = reward_weighted_probs(-((answers - favourite) ** 2), temperature=1.5)
    errors = np.asarray(jnp.sum(probs * (answers - right) ** 2, axis=-1))
    expected = error(0.3 - right, 0.3 - favourite, 1.2, 6.0, temperature)
    deviation = errors.mean() - float(expected)
    assert abs(deviation) < 4 * errors.std() / np.sqrt(len(errors))
    assert 4 * errors.std() / np.sqrt(len(errors)) < 0.02


def test_ends_of_temperature_and_of_samples():
    # Any answer; the judge's favourite; and a product of Gaussians: at t = 1, mean
    # m - Δ_R / 2 and variance s² / 2.
    found = error(
        0.5, -1.0, 2.0, np.array([7, np.inf, np.inf, np.inf]),
        np.array([np.inf, np.inf, 0.0, 8.0]),
    )  # fmt: skip
    np.testing.assert_allclose(found, [4.25, 4.25, 2.25, 2 + 1.0**2], rtol=1e-6)
    limit = infinite_samples_error(
        teacher_gap=0.5,
        reward_gap=-1.0,
        predictive_std=2.0,
        temperature=np.array([np.inf, 0.0, 8.0]),
    )
    np.testing.assert_allclose(limit, [4.25, 2.25, 3.0], rtol=1e-6)


def test_many_answers_come_to_infinitely_many():
    with jax.enable_x64(True):
        ends = error(0.4, 3.0, 1.0, np.array([1e5, 2e5, np.inf]), np.array([2.0]))
    far, near = np.asarray(ends)[:2] - np.asarray(ends)[2]
    np.testing.assert_allclose(far / near, 2, rtol=1e-3)  # as 1 / k


def test_units_do_not_matter():
    with jax.enable_x64(True):
        found = error(
            np.array([0.2, 2.0, -0.2]),
            np.array([0.7, 7.0, -0.7]),
            np.array([1.0, 10.0, 1.0]),
            9.0,
            np.array([0.5, 50.0, 0.5]),
        )
    np.testing.assert_allclose(
        found, float(found[0]) * np.array([1, 100, 1]), rtol=1e-12
    )


def test_derivatives_are_those_of_the_error():
    with jax.enable_x64(True):
        point = np.array([0.2, -1.8, 1.0, 7.0, 10.0])
        nudges = 1e-4 * np.concatenate([np.eye(5), -np.eye(5)])
        shifted = error(*(point + nudges).T)
    expected = np.asarray(shifted[:5] - shifted[5:]) / 2e-4
    gradient = jax.jit(jax.grad(lambda point: error(*point)))(jnp.array(point))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    assert gradient.dtype == jnp.float32
    slope = samples_slope(
        teacher_gap=0.2,
        reward_gap=-1.8,
        predictive_std=1.0,
        num_samples=7.0,
        temperature=10.0,
    )
    middle = error(*point)
    np.testing.assert_allclose(slope, 7 * expected[3] / middle, rtol=1e-5)


def test_it_maps_like_a_loop():
    gaps = jnp.array([0.1, 0.5])
    mapped = jax.vmap(lambda gap: error(gap, 0.3, 1.0, 4.0, 0.0))(gaps)
    np.testing.assert_allclose(mapped, error(gaps, 0.3, 1.0, 4.0, 0.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("place", "bad", "rule"),
    [
        (2, 0.0, "predictive_std: expected > 0, got 0"),
        (2, -1.0, "predictive_std: expected > 0, got -1"),
        (3, 0.5, "num_samples: expected >= 1, got 0.5"),
        (3, 0, "num_samples: expected >= 1, got 0"),
        (4, -0.1, "temperature: expected >= 0, got -0.1"),
        (4, np.nan, "temperature: expected >= 0, got nan"),
    ],
)
def test_what_is_out_of_range_is_refused(place, bad, rule):
    given = [0.1, 0.2, 1.0, 4.0, 1.0]
    given[place] = bad
    with pytest.raises(ValueError, match=rule):
        error(*given)
    given[place] = np.array([1.0, bad])
    with pytest.raises(ValueError, match=rule):
        error(*given)


def test_what_is_out_of_range_is_nan_when_traced():
    good = np.array([0.1, 0.2, 1.0, 4.0, 1.0])
    rows = np.stack([good] * 4)
    rows[1, 2], rows[2, 3], rows[3, 4] = -1.0, 0.9, -1e-3
    found = jax.jit(error)(*jnp.array(rows).T)
    assert np.isnan(found).tolist() == [False, True, True, True]


def test_shapes_must_go_together():
    with pytest.raises(TypeError):
        error(np.zeros(2), np.zeros(3), 1.0, 2.0, 1.0)
