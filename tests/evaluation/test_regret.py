"""Growth of curves whose growth is known."""

import numpy as np
import pytest

from sophia_jax.evaluation.regret import (
    growth_of_switches,
    log_log_slope,
    regret_band,
    regret_difference,
    switches_by_decade,
    switches_per_decade,
)

STEPS = np.arange(1, 101) * 1000


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_a_power_of_the_steps_has_its_exponent_for_slope(exponent):
    regret = np.array([[2.0], [3.0], [7.0]]) * STEPS[None] ** exponent
    slope, (low, high) = log_log_slope(STEPS, regret)
    assert slope == pytest.approx(exponent, abs=1e-9)
    assert (low, high) == pytest.approx((exponent, exponent), abs=1e-9)


def test_slopes_of_seeds_that_differ_have_an_interval_about_that_of_the_mean():
    regret = np.stack([STEPS**0.3, STEPS**0.5, STEPS**0.7])
    slope, (low, high) = log_log_slope(STEPS, regret)
    assert 0.3 - 1e-9 < low < slope < high < 0.7 + 1e-9
    assert log_log_slope(STEPS, regret[:1])[1] is None


def test_only_the_second_half_counts():
    regret = np.where(STEPS < 50_000, STEPS, 50_000.0)[None]
    assert log_log_slope(STEPS, regret)[0] == pytest.approx(0, abs=1e-9)


def test_who_regrets_nothing_has_no_slope():
    assert log_log_slope(STEPS, np.zeros((3, 100))) is None


def by_law(law, last):
    """Steps at which law(t) passes whole numbers."""
    steps = np.arange(1, last + 1)
    counts = np.floor(law(steps) + 1e-9)
    return steps[1:][np.diff(counts) > 0]


def test_switches_of_log_T_are_as_many_in_each_decade():
    steps = [by_law(lambda t: 20 * np.log10(t), 100_000)] * 3
    rate, (low, high) = switches_per_decade(100_000, steps)
    assert rate == pytest.approx(20, rel=0.02)
    assert low == pytest.approx(rate) and high == pytest.approx(rate)
    exponent, _ = growth_of_switches(100_000, steps)
    assert exponent == pytest.approx(0, abs=0.01)
    np.testing.assert_array_equal(switches_by_decade(100_000, steps), [[20, 20]] * 3)


def test_switches_of_a_power_of_T_have_its_exponent():
    steps = [by_law(np.sqrt, 100_000)] * 2
    assert growth_of_switches(100_000, steps)[0] == pytest.approx(0.5, abs=0.02)


def test_no_switches_grow_no_faster_than_log_T():
    none = [np.array([], int)] * 5
    assert growth_of_switches(1000, none) == (0.0, (0.0, 0.0))
    assert growth_of_switches(99, none) is None
    assert switches_per_decade(99, none) is None


def test_a_band_holds_the_mean_and_narrows_with_seeds():
    random = np.random.default_rng(0)
    few = regret_band(random.normal(size=(5, 2)))
    many = regret_band(random.normal(size=(500, 2)))
    for band in (few, many):
        assert (np.array(band["low"]) < band["mean"]).all()
        assert (np.array(band["mean"]) < band["high"]).all()
    # 2 x 1.96 / sqrt(500) of a deviation of 1
    assert many["high"][0] - many["low"][0] == pytest.approx(0.175, abs=0.02)
    single = regret_band(np.array([[4.0, 5.0]]))
    assert single["low"] == single["high"] == [4.0, 5.0]


def test_a_difference_is_told_where_the_seeds_tell_it():
    random = np.random.default_rng(0)
    first, second = random.normal(10, 1, 30), random.normal(0, 1, 20)
    apart, (low, high) = regret_difference(first, second)
    assert apart == pytest.approx(first.mean() - second.mean())
    assert low < apart < high
    # 1.96 sqrt(1/30 + 1/20), both ways
    assert high - low == pytest.approx(1.13, abs=0.3)
    assert regret_difference(first[:1], second)[1] is None
