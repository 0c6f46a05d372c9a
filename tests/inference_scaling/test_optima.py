"""Best temperature, number of samples and judge, against reference numbers."""

import jax
import numpy as np
import pytest

from sophia_jax.inference_scaling.theory import (
    best_reward_gap,
    expected_error,
    optimal_num_samples,
    optimal_temperature,
    series_optimal_temperature,
)

INF = np.inf


def test_the_best_number_of_samples_of_the_reference_cases():
    # (Δ_T, Δ_R, t, k): the last two are a judge who knows, and one temperature at which
    # nothing is chosen.
    cases = np.array(
        [
            (0.2, -1.8, 5, 2),
            (0, 4, 30, 4),
            (0, 5, 60, 7),
            (0, 3, 22, 9),
            (0, 5, 70, 29),
            (0, 4, 45, 44),
            (0.2, 3, 12, INF),
            (0.5, 0.5, 0, INF),
            (0.5, 0.1, INF, 1),
        ]
    )
    teacher_gap, reward_gap, t, expected = cases.T
    found = optimal_num_samples(
        teacher_gap=teacher_gap,
        reward_gap=reward_gap,
        predictive_std=1.0,
        temperature=2 * t,
    )
    np.testing.assert_array_equal(found, expected)


def test_the_best_judge_overshoots_the_more_the_fewer_the_answers():
    found = best_reward_gap(
        teacher_gap=np.array([0.2, 0.2, 0.2, 0.2, -0.2, 0.2, -0.2]),
        predictive_std=1.0,
        num_samples=np.array([3, 6, 20, INF, INF, 5, 2]),
        temperature=np.array([8.0, 8.0, 8.0, 8.0, 8.0, 0.0, 8.0]),
    )
    # Of two answers at this T the one further along is better, however little.
    expected = [1.80, 1.24, 1.06, 1.00, -1.00, 0.2, -INF]
    np.testing.assert_allclose(found, expected, atol=0.006)
    with pytest.raises(ValueError, match="temperature: expected a finite one, got inf"):
        best_reward_gap(
            teacher_gap=0.2, predictive_std=1.0, num_samples=3, temperature=INF
        )


def test_the_best_temperature():
    teacher_gap = np.array([0.0, 0.0, 0.3, 1.0, 0.2])
    reward_gap = np.array([4.0, 5.0, 0.3, -2.0, 3.0])
    num_samples = np.array([10.0, 10.0, 10.0, 10.0, 1.0])
    given = {
        "teacher_gap": teacher_gap,
        "reward_gap": reward_gap,
        "predictive_std": 1.0,
    }
    found = np.asarray(optimal_temperature(**given, num_samples=num_samples))
    # A judge who knows is believed, one who points the wrong way is not; with a single
    # answer it does not matter.
    np.testing.assert_array_equal(found[2:], [0, INF, 0])
    series = series_optimal_temperature(
        **{name: np.asarray(value)[..., :2] for name, value in given.items()
           if name != "predictive_std"},
        predictive_std=1.0,
        num_samples=10,
    )  # fmt: skip
    np.testing.assert_allclose(found[:2], series, rtol=0.09)
    with jax.enable_x64(True):
        around = np.array([0.9, 1.0, 1.1])[:, None] * found[None, :2]
        errors = expected_error(
            teacher_gap=0.0,
            reward_gap=np.broadcast_to(reward_gap[:2], (3, 2)),
            predictive_std=1.0,
            num_samples=10.0,
            temperature=around,
        )
        errors = np.asarray(errors)
    assert np.all(errors[1] < errors[0]) and np.all(errors[1] < errors[2])
