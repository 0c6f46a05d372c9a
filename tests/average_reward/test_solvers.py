"""Three solvers against one another and values by hand; what they refuse."""

import dataclasses

import numpy as np
import pytest

from sophia_jax.average_reward import environments
from sophia_jax.average_reward.chains import (
    classify,
    diameter,
    limiting_matrix,
    stationary_distribution,
)
from sophia_jax.average_reward.mdp import AverageRewardMDP
from sophia_jax.average_reward.solvers import (
    linear_programming,
    policy_iteration,
    relative_value_iteration,
    solve,
)
from sophia_jax.types import InputError

BEDS = {
    "river of 3": environments.river_swim(3),
    "river of 6": environments.river_swim(),
    "river of 20": environments.river_swim(20),
    "random": environments.random_ergodic(0),
    "mixture": environments.linear_mixture(5),
    "queue": environments.access_control(),
    "grid": environments.gridworld(),
    "shop": environments.inventory(),
}


def cycle(length):
    """A ring that is walked in one direction; every step from the last state pays 1."""
    transition = np.roll(np.eye(length), 1, axis=1)[:, None]
    reward = np.zeros((length, 1))
    reward[-1] = 1
    return AverageRewardMDP(transition, reward)


@pytest.mark.parametrize("name", BEDS)
def test_three_solvers_agree(name):
    mdp = BEDS[name]
    exact = solve(mdp)
    for other in (relative_value_iteration(mdp), linear_programming(mdp)):
        assert abs(other.gain - exact.gain) < 1e-9
        np.testing.assert_allclose(other.bias, exact.bias, atol=1e-9)


@pytest.mark.parametrize("name", BEDS)
def test_gain_and_bias_fulfil_the_optimality_equation(name):
    mdp, solution = BEDS[name], solve(BEDS[name])
    best = (mdp.reward + mdp.transition @ solution.bias).max(1)
    np.testing.assert_allclose(solution.gain + solution.bias, best, atol=1e-11)


def test_the_river_has_its_known_gain_and_span():
    solution = solve(environments.river_swim())
    assert abs(solution.gain - 0.428622433799) < 1e-12
    assert abs(solution.span - 6.310324) < 1e-6
    assert (solution.policy == 1).all()


def test_the_mixture_has_the_gain_of_its_two_state_chain():
    # Leaving 0 with 0.1 + 0.05 and 1 with 0.1: the time in 1 is 0.15 / 0.25.
    mdp = environments.linear_mixture(5, leaving=0.1, advantage=0.05)
    solution = solve(mdp)
    assert abs(solution.gain - 0.6) < 1e-12
    assert abs(solution.span - 1 / 0.25) < 1e-12
    assert solution.policy[0] == 15  # all signs positive


@pytest.mark.parametrize("solver", [solve, relative_value_iteration])
def test_a_periodic_chain_is_solved(solver):
    # h(s) = h(0) + s / 4 on the ring of 4, and the mean is 0.
    solution = solver(cycle(4))
    assert abs(solution.gain - 1 / 4) < 1e-12
    np.testing.assert_allclose(solution.bias, [-3 / 8, -1 / 8, 1 / 8, 3 / 8], atol=1e-9)


def test_without_damping_a_periodic_chain_does_not_converge():
    with pytest.raises(ValueError, match="max_iterations: expected enough"):
        relative_value_iteration(cycle(4), damping=1.0, max_iterations=1000)


def test_the_largest_bias_is_told_from_the_best_gain():
    # Both ways lead to state 1, where 1/2 is paid for ever; one pays 1 on the way.
    transition = np.zeros((2, 2, 2))
    transition[:, :, 1] = 1
    reward = np.array([[0.0, 1.0], [0.5, 0.5]])
    mdp = AverageRewardMDP(transition, reward)
    assert solve(mdp).policy[0] == 1
    assert solve(mdp).bias[0] == pytest.approx(0.5)
    # Two rings pay 1 / 2: 0 -> 1 -> 0 pays 1 at 0, and staying at 2 pays 1 / 2. The
    # optimality equation holds for either, and only the bias tells them apart.
    transition = np.zeros((3, 2, 3))
    transition[0, :, 1] = transition[1, 0, 0] = transition[1, 1, 2] = 1
    transition[2, 0, 2] = transition[2, 1, 0] = 1
    reward = np.array([[1.0, 1.0], [0.0, 0.25], [0.5, 0.25]])
    mdp = AverageRewardMDP(transition, reward)
    best, any_ = policy_iteration(mdp), policy_iteration(mdp, optimality="gain")
    every = [
        policy_iteration(
            AverageRewardMDP(
                transition[np.arange(3), list(p)][:, None],
                reward[np.arange(3), list(p)][:, None],
            )
        )
        for p in [(0, 0, 1), (0, 1, 0)]
    ]
    assert {best.optimality, any_.optimality} == {"bias", "gain"}
    np.testing.assert_allclose(best.bias, [0.25, -0.25, 0.0], atol=1e-12)
    for one in every:
        assert (best.bias >= one.bias - 1e-12).all()


def test_time_is_spent_as_the_balance_of_flows_says():
    chain = np.array([[0.7, 0.3], [0.1, 0.9]])
    np.testing.assert_allclose(stationary_distribution(chain), [0.25, 0.75], atol=1e-15)
    # From 0 half of the time ends in 1 and half in the ring of 2 and 3.
    chain = np.array([[0, 0.5, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1.0, 0]])
    expected = [[0, 0.5, 0.25, 0.25], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]]
    np.testing.assert_allclose(limiting_matrix(chain), expected, atol=1e-15)
    with pytest.raises(InputError, match="one closed class, got 2"):
        stationary_distribution(chain)


def test_the_diameter_is_the_longest_of_the_quickest_ways():
    assert diameter(cycle(5)) == pytest.approx(4)
    # From 0 to 1 with 0.15 at best, back with 0.1 whatever is done.
    assert diameter(environments.linear_mixture(3)) == pytest.approx(10)
    assert diameter(BEDS["grid"]) == np.inf  # what is carried in the last cell: never


def test_structures_are_told_apart():
    apart = AverageRewardMDP(np.eye(2)[:, None], np.zeros((2, 1)))
    assert classify(apart) == "multichain"
    into = np.zeros((3, 1, 3))
    into[0, 0, 1:] = 0.5
    into[1, 0, 2] = into[2, 0, 1] = 1
    assert classify(AverageRewardMDP(into, np.zeros((3, 1)))) == "weakly communicating"
    staying = np.zeros((2, 2, 2))  # action 0 stays in 0; the other never comes back
    staying[0, 0, 0] = staying[0, 1, 1] = 1
    staying[1, :, 1] = 1
    assert classify(AverageRewardMDP(staying, np.zeros((2, 2)))) == "multichain"
    assert classify(BEDS["river of 6"]) == "communicating"
    for mdp in (apart, AverageRewardMDP(staying, np.zeros((2, 2)))):
        with pytest.raises(InputError, match="transition: expected a weakly comm"):
            solve(mdp)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transition": [[[0.5, 0.4]], [[1, 0]]]}, r"\[0, 0\]: expected a row that su"),
        ({"transition": [[[1.5, -0.5]], [[1, 0]]]}, r"\[0, 0, 1\]: expected >= 0"),
        ({"transition": [[[1.0]], [[1.0]]]}, "expected .state action state."),
        ({"reward": [[0.0], [1.5]]}, r"reward\[1, 0\]: expected in \[0, 1\], got 1.5"),
        ({"reward": [[np.nan], [0]]}, r"reward\[0, 0\]: expected a finite"),
        ({"reward": [[0.0, 1.0]]}, "reward: expected shape"),
        ({"start": 2}, "start: expected a state below 2, got 2"),
        ({"features": np.ones((2, 1, 1))}, "features: expected rewards and trans"),
        ({"mixture_weights": np.ones(1)}, "mixture_features: expected beside"),
    ],
)
def test_bad_tables_are_refused_in_one_line(changes, said):
    tables = {"transition": [[[0.5, 0.5]], [[1, 0]]], "reward": [[0.0], [1.0]]}
    with pytest.raises(InputError, match=said) as raised:
        AverageRewardMDP(**{**tables, **changes})
    assert "\n" not in str(raised.value)


def test_tables_cannot_be_changed_behind_the_checks():
    mdp = environments.river_swim()
    with pytest.raises(ValueError, match="read-only"):
        mdp.transition[0, 0, 0] = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        mdp.start = 1
