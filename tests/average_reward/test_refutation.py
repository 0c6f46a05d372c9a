"""Span bounds that are too small, where no set becomes empty; radii by hand."""

import jax
import numpy as np
import pytest

from sophia_jax import average_reward as ar


def trace(rewards, begins, gains, gain=0.5):
    """A run that earned `rewards`, with policies from `begins` on."""
    rewards = np.asarray(rewards, float)
    regret = np.cumsum(gain - rewards)
    return ar.Trace(
        step=np.arange(1, len(rewards) + 1),
        regret=regret,
        pseudo_regret=regret,
        switches=np.array(len(begins) - 1),
        switch_step=np.array([*begins, -1]),
        notes={"optimistic_gain": np.array([*gains, 0.0])},
        visits=np.zeros((1, 1)),
    )


def test_earning_more_than_believed_is_refuted_by_the_bound_of_its_noise():
    # 1 (1 + sqrt(t / 2 log(2 t^2 / delta))) + 0.002 t of 0.1 t more than was believed
    steps = np.arange(1, 4001)
    log = np.log(2 * steps**2 / 1e-3)
    most = 1 + np.sqrt(steps / 2 * log) + 2e-3 * steps
    last = int(np.argmax(0.1 * steps > most))
    rewards = np.full(last, 0.5)
    assert not ar.contradicted(trace(rewards, [0], [0.4]), 1.0, 0.5)
    more = np.full(last + 2, 0.5)
    assert ar.contradicted(trace(more, [0], [0.4]), 1.0, 0.5)
    assert not ar.contradicted(trace(more, [0], [0.4]), 2.0, 0.5)
    assert not ar.contradicted(trace(more, [0], [0.4]), None, 0.5)


def test_each_policy_is_held_to_its_own_gain():
    rewards = np.r_[np.full(3000, 0.3), np.full(3000, 0.7)]
    assert not ar.contradicted(trace(rewards, [0, 3000], [0.3, 0.7]), 1.0, 0.5)
    assert ar.contradicted(trace(rewards, [0, 3000], [0.3, 0.5]), 1.0, 0.5)


def test_what_came_after_the_last_noted_switch_refutes_nothing():
    rewards = np.r_[np.full(10, 0.3), np.full(6000, 0.7)]
    run = trace(rewards, [0, 10], [0.3, 0.3])
    assert ar.contradicted(run, 1.0, 0.5)
    cut = ar.Trace(
        **{
            **vars(run),
            "switches": np.array(3),
            "switch_step": run.switch_step[:2],
            "notes": {"optimistic_gain": np.array([0.3, 0.3])},
        }
    )
    assert not ar.contradicted(cut, 1.0, 0.5)


BED = ar.linear_mixture(2)


def test_a_span_bound_below_the_truth_is_refuted():
    # That the right one is not, all other tests show: a warning fails them.
    agent = ar.loop_mixture(BED.mixture_features, beta=1.0, span_bound=0.5)
    with pytest.warns(ar.ContradictedOptimism, match=r"more was earned .* of 0\.5"):
        told = ar.run(jax.random.key(0), agent, BED, 1500, every=50)
    assert ar.contradicted(told, 0.5, ar.solve(BED).gain)
    assert not ar.contradicted(told, 5.0, ar.solve(BED).gain)


def test_pseudo_regret_is_what_choices_cost_and_never_falls():
    keys = jax.random.split(jax.random.key(0), 3)
    trace = ar.run(keys, ar.uniform_policy(), BED, 300, every=10)
    solution = ar.solve(BED)
    cost = solution.gain + solution.bias[:, None] - BED.reward
    cost = cost - BED.transition @ solution.bias
    by_visits = (trace.visits * cost[None]).sum((1, 2))
    np.testing.assert_allclose(trace.pseudo_regret[:, -1], by_visits, rtol=1e-4)
    assert (np.diff(trace.pseudo_regret, axis=1) >= 0).all()
    assert np.abs(trace.pseudo_regret - trace.regret).max() > 0.1


def test_radii_are_what_their_equations_say():
    beta = ar.ellipsoid_radius(
        100, dim=4, span=2.0, row_norm=3.0, weight_norm=0.5, ridge=2.0, delta=0.1
    )
    root = np.sqrt(2 * np.log(10) + 4 * np.log(1 + 900 / 8)) + np.sqrt(2) * 0.5
    assert beta == pytest.approx(root**2)
    expected = np.log(6 / 0.05) + 2 * np.log(np.e * (1 + 100 / 2))
    assert ar.row_radius(100, 3, 2) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_steps": 0}, "num_steps: expected finite and >= 1, got 0"),
        ({"ridge": 0.0}, "ridge: expected finite and > 0"),
        ({"span": np.inf}, "span: expected finite"),
        ({"delta": 1.0}, "delta: expected in"),
    ],
)
def test_a_radius_out_of_range_is_refused(changes, said):
    options = {"num_steps": 9, "dim": 1, "span": 1, "row_norm": 1, "weight_norm": 1}
    options |= changes
    with pytest.raises(ValueError, match=said):
        ar.ellipsoid_radius(options.pop("num_steps"), **options)
