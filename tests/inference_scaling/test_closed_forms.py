"""Series, coefficients, equivalents and slopes against the reference numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.inference_scaling.theory import (
    best_of_k_coefficient,
    data_slope,
    deterministic_equivalent,
    expected_error,
    gap_covariance,
    high_temperature_series,
    mean_best_of_k_coefficient,
    series_optimal_num_samples,
    series_optimal_temperature,
)


@pytest.mark.parametrize(
    ("gaps", "k", "t", "exact", "second", "third"),
    [
        ((-0.5, 1.0), 10, 8, 1.259610, 1.261250, 1.259633),
        ((0.3, 0.4), 2, 5, 0.970272, 0.966000, 0.970757),
    ],
)
def test_the_series_and_its_corrected_third_order(gaps, k, t, exact, second, third):
    given = {
        "teacher_gap": gaps[0],
        "reward_gap": gaps[1],
        "predictive_std": 1.0,
        "num_samples": k,
        "temperature": 2.0 * t,
    }
    np.testing.assert_allclose(expected_error(**given), exact, atol=6e-7)
    found = high_temperature_series(**given, order=2)
    np.testing.assert_allclose(found, second, atol=6e-7)
    np.testing.assert_allclose(high_temperature_series(**given), third, atol=6e-7)


@pytest.mark.parametrize(("order", "shrinks"), [(1, 4), (2, 8), (3, 16)])
def test_what_the_series_leaves_out_is_of_the_next_order(order, shrinks):
    given = {
        "teacher_gap": 0.3,
        "reward_gap": -0.7,
        "predictive_std": 1.5,
        "num_samples": np.array([3.0, 7.0, 100.0]),
    }
    with jax.enable_x64(True):
        left_out = [
            expected_error(**given, temperature=temperature)
            - high_temperature_series(**given, temperature=temperature, order=order)
            for temperature in (4.5 * 100, 4.5 * 200)
        ]
        ratios = np.asarray(left_out[0]) / np.asarray(left_out[1])
    expected = np.full(3, float(shrinks))
    np.testing.assert_allclose(ratios, expected, rtol=0.05)


def test_the_coefficient_of_best_of_k_against_the_exact_error():
    k = np.array([32.0, 128.0, 1024.0, 8192.0])
    given = {"teacher_gap": 0.3, "predictive_std": 1.0}
    exact = expected_error(**given, reward_gap=0.3, num_samples=k, temperature=0.0)
    ratio = exact / (best_of_k_coefficient(**given) / k**2)
    np.testing.assert_allclose(ratio, [0.917, 0.977, 0.997, 0.9996], atol=6e-4)
    named = best_of_k_coefficient(**given, reward_gap=0.3)
    np.testing.assert_allclose(named, best_of_k_coefficient(**given), rtol=1e-7)


def test_a_misspecified_judge_reaches_its_floor_from_below():
    given = {"teacher_gap": 0.2, "reward_gap": -1.5, "predictive_std": 1.0}
    with jax.enable_x64(True):
        exact = expected_error(
            **given, num_samples=np.array([4000.0, 8000.0]), temperature=0.0
        )
        above = np.asarray(exact) - 1.7**2
        coefficient = float(best_of_k_coefficient(**given))
    assert coefficient < 0
    ratio = above * np.array([4000.0, 8000.0]) ** 2 / coefficient
    # Richardson: what is left falls as 1 / k.
    np.testing.assert_allclose(2 * ratio[1] - ratio[0], 1, atol=2e-3)


def test_the_mean_coefficient_is_the_mean(key):
    gaps = 0.4 * jax.random.normal(key, (200_000,))
    sampled = np.asarray(best_of_k_coefficient(teacher_gap=gaps, predictive_std=1.0))
    found = mean_best_of_k_coefficient(gap_variance=0.16, predictive_std=1.0)
    np.testing.assert_allclose(found, np.pi / np.sqrt(1 - 0.32), rtol=1e-6)
    error = 4 * sampled.std() / np.sqrt(len(sampled))
    assert abs(sampled.mean() - float(found)) < error < 0.1


def test_where_the_mean_does_not_exist_it_is_said():
    for gap_variance in (0.5, 0.7):
        with pytest.raises(ValueError, match="gap_variance: expected less than half"):
            mean_best_of_k_coefficient(gap_variance=gap_variance, predictive_std=1.0)
        traced = jax.jit(
            lambda q: mean_best_of_k_coefficient(gap_variance=q, predictive_std=1.0)
        )
        assert np.isnan(traced(gap_variance))
    with pytest.raises(ValueError, match="gap_variance: expected >= 0, got -0.1"):
        mean_best_of_k_coefficient(gap_variance=-0.1, predictive_std=1.0)
    with pytest.raises(ValueError, match="order: expected 1, 2 or 3, got 4"):
        high_temperature_series(
            teacher_gap=0.1,
            reward_gap=0.1,
            predictive_std=1.0,
            num_samples=2,
            temperature=9.0,
            order=4,
        )


def test_optima_of_the_series_by_hand():
    # C_1 = s² and C_2 = s² + 16: t = 2 (1 - 2/10) 17, and k = 68 / (51 - 30).
    given = {"teacher_gap": 0.0, "reward_gap": 4.0, "predictive_std": 1.0}
    temperature = series_optimal_temperature(**given, num_samples=10)
    np.testing.assert_allclose(temperature, 2 * 2 * 0.8 * 17, rtol=1e-6)
    num_samples = series_optimal_num_samples(
        **given, temperature=2 * np.array([30.0, 45.0, 51.0, 60.0])
    )
    np.testing.assert_allclose(num_samples, [68 / 21, 68 / 6, np.inf, np.inf])
    # C_1 < 0: colder is worse, however many answers there are.
    worse = series_optimal_temperature(
        teacher_gap=1.0, reward_gap=-1.0, predictive_std=1.0, num_samples=10
    )
    assert np.isnan(worse)
    with pytest.raises(ValueError, match="num_samples: expected > 2, got 2"):
        series_optimal_temperature(**given, num_samples=2)


def equivalent(eigenvalues, teacher, num_data, noise_std, prior_std):
    return deterministic_equivalent(
        eigenvalues,
        teacher,
        num_data=num_data,
        noise_std=noise_std,
        prior_std=prior_std,
    )


def simulated(rng, eigenvalues, teacher, judge, num_data, noise, prior, num_draws):
    """s², v, and the covariance of both gaps, by regression on random data."""
    dim, found = len(eigenvalues), []
    for _ in range(num_draws):
        x = rng.normal(size=(num_data, dim)) * np.sqrt(eigenvalues / dim)
        y = x @ teacher + noise * rng.normal(size=num_data)
        inverse = np.linalg.inv(np.eye(dim) / prior**2 + x.T @ x / noise**2)
        mean = inverse @ x.T @ y / noise**2
        off = np.stack([mean - teacher, mean - judge])
        gaps = (off * eigenvalues) @ off.T / dim
        spread = noise**2 + np.sum(np.diag(inverse) * eigenvalues) / dim
        found.append([spread, *gaps[np.triu_indices(2)]])
    found = np.array(found)
    return found.mean(0), found.std(0) / np.sqrt(num_draws)


@pytest.mark.parametrize(
    ("dim", "num_data", "noise", "prior"), [(80, 160, 0.5, 1.0), (80, 40, 0.5, 1.0)]
)
def test_equivalents_agree_with_regression_on_random_data(dim, num_data, noise, prior):
    rng = np.random.default_rng(1)
    eigenvalues = np.arange(1, dim + 1) ** -0.7
    eigenvalues /= eigenvalues.mean()
    teacher, judge = rng.normal(size=(2, dim))
    found = equivalent(eigenvalues, teacher, num_data, noise, prior)
    gaps = np.asarray(gap_covariance(eigenvalues, teacher, judge, found))
    assert float(found.q) < 0.8 * float(found.v)  # the correction is not small
    np.testing.assert_allclose(gaps[0, 0], found.v, rtol=1e-5)
    means, errors = simulated(
        rng, eigenvalues, teacher, judge, num_data, noise, prior, 150
    )
    expected = np.array([found.s2, *gaps[np.triu_indices(2)]])
    assert np.all(np.abs(means - expected) < 4 * errors + 0.01 * expected)


@pytest.mark.parametrize(
    ("sizes", "s2", "q", "v"),
    [
        ((200, 400, 0.5, 1.0), 0.4038, 0.0478, 0.1718),
        ((200, 100, 0.5, 1.0), 0.7480, 0.4285, 0.6720),
        ((400, 2000, 0.3, 0.7), 0.1106, 0.0041, 0.0238),
    ],
)
def test_equivalents_of_reference_for_a_power_law(sizes, s2, q, v):
    # v depends on the teacher through q alone: any teacher with this q will do.
    dim, *rest = sizes
    eigenvalues = np.arange(1, dim + 1) ** -0.7
    eigenvalues /= eigenvalues.mean()
    one = equivalent(eigenvalues, np.ones(dim), *rest)
    found = equivalent(eigenvalues, np.full(dim, np.sqrt(q / one.q)), *rest)
    assert float(found.s2) == pytest.approx(s2, abs=6e-5)
    assert float(found.q) == pytest.approx(q, rel=1e-5)
    assert float(found.v) == pytest.approx(v, abs=1.5e-4)  # q is rounded, too


def test_isotropic_equivalents_by_the_quadratic_formula():
    # S² = 2, α = 0.25, and R̂ = dσ² / nγ² = 0.25 · 0.09 / 0.49.
    alpha, bare, scale = 0.25, 0.25 * 0.09 / 0.49, 2.0
    middle = alpha + bare / scale - 1
    expected = scale / 2 * (middle + np.sqrt(middle**2 + 4 * bare / scale))
    teacher = np.array([1.0, -2.0, 0.5])
    found = equivalent(np.full(3, scale), teacher, 12.0, 0.3, 0.7)
    np.testing.assert_allclose(found.R, expected, rtol=1e-6)
    lacking = expected / (expected + scale)
    np.testing.assert_allclose(found.shrinkage, np.full(3, lacking), rtol=1e-6)
    np.testing.assert_allclose(found.s2, 0.09 + 0.49 * lacking * scale, rtol=1e-6)
    gap = lacking**2 * scale * np.mean(teacher**2)
    np.testing.assert_allclose(found.q, gap, rtol=1e-6)


def test_averaged_over_the_prior_the_gap_is_the_spread_without_noise():
    # E w_T² = γ² for each weight: v is linear in them, so the root mean square will do.
    eigenvalues = np.geomspace(1e-6, 10, 50)
    found = equivalent(eigenvalues, np.full(50, 0.7), 30.0, 0.3, 0.7)
    np.testing.assert_allclose(found.v, float(found.s2) - 0.09, rtol=2e-6)


def test_equivalents_may_be_differentiated_and_traced():
    eigenvalues, teacher = jnp.array([2.0, 0.5, 0.1]), jnp.array([1.0, 2.0, -1.0])

    def gap(num_data):
        return equivalent(eigenvalues, teacher, num_data, 0.4, 0.8).v

    with jax.enable_x64(True):
        expected = (gap(7.01) - gap(6.99)) / 0.02
    slope = jax.jit(jax.grad(gap))(7.0)
    np.testing.assert_allclose(slope, expected, rtol=1e-4)
    assert np.isnan(jax.jit(gap)(-1.0))


@pytest.mark.parametrize("name", ["num_data", "noise_std", "prior_std"])
def test_equivalents_of_what_is_no_regression_are_refused(name):
    given = {"num_data": 5, "noise_std": 0.4, "prior_std": 0.8} | {name: 0.0}
    with pytest.raises(ValueError, match=f"{name}: expected > 0, got 0"):
        deterministic_equivalent(np.ones(2), np.ones(2), **given)


def test_spectra_must_be_spectra():
    with pytest.raises(ValueError, match="covariance_eigenvalues: expected >= 0"):
        equivalent(np.array([1.0, -1.0]), np.ones(2), 5, 0.4, 0.8)
    with pytest.raises(ValueError, match="covariance_eigenvalues: expected one"):
        equivalent(np.zeros(2), np.ones(2), 5, 0.4, 0.8)
    with pytest.raises(TypeError):
        equivalent(np.ones(3), np.ones(2), 5, 0.4, 0.8)


def test_slopes_in_data_of_the_paper():
    def slope(alpha, noise_std, prior_std, corrected):
        return data_slope(
            np.ones(1),
            np.ones(1),
            num_data=1 / alpha,
            noise_std=noise_std,
            prior_std=prior_std,
            corrected=corrected,
        )

    expected = {0.005: -5.1e-9, 0.02: -8.5e-8, 0.08: -1.6e-6}
    for alpha, value in expected.items():
        np.testing.assert_allclose(slope(alpha, 1.0, 10.0, False), value, rtol=0.03)
        # What the leading form leaves out is of order α, not of order α².
        np.testing.assert_allclose(slope(alpha, 1.0, 10.0, True), -2 * alpha, rtol=0.2)
    hard = slope(0.2, 0.1**0.5, 0.1**0.5, False)
    np.testing.assert_allclose(hard, -2.667, atol=6e-4)  # data win over answers
    with pytest.raises(ValueError, match="gap_variance: expected less than half"):
        slope(2.0, 0.1, 1.0, False)
