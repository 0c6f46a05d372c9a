"""Test beds: what their rows have to be, by hand; gymnasium's tables."""

import numpy as np
import pytest

from sophia_jax.average_reward import environments
from sophia_jax.average_reward.adapters import from_gymnasium
from sophia_jax.average_reward.chains import classify
from sophia_jax.average_reward.solvers import solve
from sophia_jax.types import InputError


def test_servers_become_free_independently():
    mdp = environments.access_control(2, payments=(0.5, 1.0), freeing=0.1)
    rows = mdp.transition.reshape(3, 2, 2, 3, 2).sum(-1)  # free, kind, action, free
    # One of two is free and is given away: both may come free, each with 0.1.
    np.testing.assert_allclose(rows[1, 0, 1], [0.81, 0.18, 0.01], atol=1e-15)
    np.testing.assert_allclose(rows[1, 0, 0], [0, 0.9, 0.1], atol=1e-15)
    assert mdp.reward.reshape(3, 2, 2)[:, 1, 1].tolist() == [0, 1, 1]


def test_a_square_of_four_cells_pays_on_every_fourth_step_without_slips():
    assert solve(environments.gridworld(2, slip=1e-9)).gain == pytest.approx(1 / 4)


def test_a_shop_sells_what_it_has_and_no_more():
    mdp = environments.inventory(2, demand=1.0, order_cost=0.3)
    p0, p1 = np.exp(-1), np.exp(-1)
    np.testing.assert_allclose(mdp.transition[0, 0], [1, 0, 0])
    np.testing.assert_allclose(mdp.transition[1, 1], [1 - p0 - p1, p1, p0], atol=1e-15)
    sold = p1 + 2 * (1 - p0 - p1)
    low, high = -0.4, 1.0
    expected = (sold - 0.3 - 0.1 - low) / (high - low)
    assert mdp.reward[1, 1] == pytest.approx(expected)


def test_random_rows_keep_their_floor_and_their_seed():
    mdp = environments.random_ergodic(3, 5, 2, floor=0.1)
    assert mdp.transition.min() >= 0.1 / 5
    again = environments.random_ergodic(3, 5, 2, floor=0.1)
    assert (mdp.transition == again.transition).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: environments.river_swim(2),
            "num_states: expected from 3 to 20, got 2",
        ),
        (
            lambda: environments.linear_mixture(advantage=0.2),
            "advantage, leaving: expe",
        ),
        (lambda: environments.random_ergodic(0, floor=0.0), "floor: expected in"),
    ],
)
def test_beds_refuse_what_they_cannot_be(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_an_environment_of_gymnasium_goes_on_where_episodes_end():
    gymnasium = pytest.importorskip("gymnasium")
    lake = from_gymnasium(gymnasium.make("FrozenLake-v1", is_slippery=False))
    assert classify(lake) != "multichain"
    assert (lake.transition[5, :, 0] == 1).all()  # a hole leads to the start
    assert solve(lake).gain == pytest.approx(1 / 6)  # six moves to the goal, which pays
    with pytest.raises(InputError, match="with a table P, got CartPoleEnv"):
        from_gymnasium(gymnasium.make("CartPole-v1"))
