"""Test beds: small MDPs whose best gain is known, of structure and without."""

from __future__ import annotations

import itertools

import numpy as np

from sophia_jax.average_reward.mdp import AverageRewardMDP

__all__ = [
    "access_control",
    "gridworld",
    "inventory",
    "linear_mixture",
    "random_ergodic",
    "river_swim",
]


def river_swim(num_states: int = 6) -> AverageRewardMDP:
    """A river: drifting down is sure and pays 5/1000; all the way up pays 1.

    Action 0 goes one state down. Action 1 goes one up with 0.35, stays with 0.6, and
    drifts down with 0.05; in the lowest state it goes up with 0.6, or stays, and in the
    highest it drifts down with 0.4, or stays. Numbers differ between papers; these give
    six states a gain of 0.428622433799 and a span of 6.310324.

    Args:
      num_states: length of the river, from 3 to 20.

    Raises:
      ValueError: num_states is outside of that.

    Reference:
      Strehl, Littman, 2008, https://doi.org/10.1016/j.jcss.2007.08.009; Osband et al.,
      2013, https://arxiv.org/abs/1306.0940.
    """
    if not 3 <= num_states <= 20:
        raise ValueError(f"num_states: expected from 3 to 20, got {num_states}")
    last = num_states - 1
    transition = np.zeros((num_states, 2, num_states))
    for state in range(num_states):
        transition[state, 0, max(state - 1, 0)] = 1
        ends = state in (0, last)
        transition[state, 1, max(state - 1, 0)] += 0.4 if ends else 0.05
        transition[state, 1, state] += 0.0 if ends else 0.6
        transition[state, 1, min(state + 1, last)] += 0.6 if ends else 0.35
    reward = np.zeros((num_states, 2))
    reward[0, 0], reward[last, 1] = 5 / 1000, 1
    return AverageRewardMDP(transition, reward)


def random_ergodic(
    seed: int, num_states: int = 10, num_actions: int = 3, *, floor: float = 0.01
) -> AverageRewardMDP:
    """Rows from a flat Dirichlet, rewards uniform; every state can follow every other.

    Args:
      seed: of the tables.
      floor: share of the uniform distribution in each row, in (0, 1): it makes every
        policy's chain ergodic.
    """
    if not 0 < floor < 1:
        raise ValueError(f"floor: expected in (0, 1), got {floor}")
    random = np.random.default_rng(seed)
    rows = random.dirichlet(np.ones(num_states), (num_states, num_actions))
    transition = (1 - floor) * rows + floor / num_states
    return AverageRewardMDP(transition, random.random((num_states, num_actions)))


def linear_mixture(
    dim: int = 4, *, leaving: float = 0.1, advantage: float = 0.05
) -> AverageRewardMDP:
    """Two states, actions {-1, 1}^(dim - 1), and one action that is better to take.

        P(1 | 0, a) = leaving + <a, theta>,   theta = advantage / (dim - 1) (1, ..., 1)
        P(0 | 1, a) = leaving,   r(s, a) = s

    This is the hard instance of lower bounds for linear mixtures: all actions but the
    best differ from it in few signs, and pay the same at once. phi(s, a, s') has the
    signs, and 1 for the constant part.

    Args:
      dim: of phi; there are 2^(dim - 1) actions.
      leaving: chance of leaving a state, in (0, 1).
      advantage: by how much the best action raises it, below `leaving`.

    Reference:
      Wu, Zhou, Gu, 2022, https://arxiv.org/abs/2010.07587 (the construction).
    """
    if not 0 < advantage < leaving <= 1 - advantage:
        rule = "0 < advantage < leaving <= 1 - advantage"
        raise ValueError(
            f"advantage, leaving: expected {rule}, got {advantage, leaving}"
        )
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=dim - 1)))
    features = np.zeros((2, len(signs), 2, dim))
    features[0, :, 1, :-1], features[0, :, 0, :-1] = signs, -signs
    features[0, :, 1, -1], features[0, :, 0, -1] = leaving, 1 - leaving
    features[1, :, 0, -1], features[1, :, 1, -1] = leaving, 1 - leaving
    weights = np.r_[np.full(dim - 1, advantage / (dim - 1)), 1.0]
    reward = np.stack([np.zeros(len(signs)), np.ones(len(signs))])
    return AverageRewardMDP(
        features @ weights,
        reward,
        mixture_features=features,
        mixture_weights=weights,
    )


def access_control(
    num_servers: int = 4,
    *,
    payments: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0),
    freeing: float = 0.06,
) -> AverageRewardMDP:
    """Customers queue for servers; each is served, which pays, or sent away.

    The state is (free servers, payment of who stands first); the next customer's is
    uniform. A busy server becomes free with the same chance at each step. Action 0
    sends away, action 1 serves, which does nothing where no server is free.

    Args:
      num_servers: servers; states are (num_servers + 1) times as many as payments.
      payments: of the kinds of customers, in [0, 1].
      freeing: chance that a busy server becomes free, in (0, 1).

    Reference:
      Sutton, Barto, Reinforcement Learning, 2018, example 10.2.
    """
    kinds = len(payments)
    count = np.zeros((num_servers + 1, 2, num_servers + 1))
    for free, action in np.ndindex(num_servers + 1, 2):
        left = free - (action == 1 and free > 0)
        busy = num_servers - left
        chances = np.array([1.0])
        for _ in range(busy):
            chances = np.convolve(chances, (1 - freeing, freeing))
        count[free, action, left : left + busy + 1] = chances
    transition = np.einsum("fag,k,c->fkagc", count, np.ones(kinds), np.ones(kinds))
    size = (num_servers + 1) * kinds
    reward = np.zeros((num_servers + 1, kinds, 2))
    reward[1:, :, 1] = payments
    return AverageRewardMDP(
        transition.reshape(size, 2, size) / kinds, reward.reshape(size, 2)
    )


def gridworld(size: int = 4, *, slip: float = 0.1) -> AverageRewardMDP:
    """A square without resets: corner to corner, again and again.

    The state is a cell and whether something is carried. It is picked up in the first
    corner, for nothing, and pays 1 when it is brought into the last one. Moves are
    north, east, south, west; one goes into a direction at random by `slip`.

    Args:
      size: cells in a row, at least 2; there are 2 size^2 states.
      slip: chance that the direction is drawn anew, in (0, 1).
    """
    cells = size * size
    moves = np.zeros((4, cells, cells))
    for index, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
        for row, column in np.ndindex(size, size):
            new_row = min(max(row + down, 0), size - 1)
            new_column = min(max(column + right, 0), size - 1)
            moves[index, row * size + column, new_row * size + new_column] = 1
    moves = (1 - slip) * moves + slip * moves.mean(0)
    transition = np.zeros((2, cells, 4, 2, cells))
    reward = np.zeros((2, cells, 4))
    for carried in range(2):
        transition[carried, :, :, carried] = moves.transpose(1, 0, 2)
    transition[0, :, :, 1, 0] = transition[0, :, :, 0, 0]
    transition[0, :, :, 0, 0] = 0
    delivered = transition[1, :, :, 1, -1].copy()
    transition[1, :, :, 0, -1], transition[1, :, :, 1, -1] = delivered, 0
    reward[1] = delivered  # the expected payment of the move
    return AverageRewardMDP(
        transition.reshape(2 * cells, 4, 2 * cells), reward.reshape(2 * cells, 4)
    )


def inventory(
    capacity: int = 6, *, demand: float = 2.0, order_cost: float = 0.3
) -> AverageRewardMDP:
    """A shop: order up to a level each evening, sell what is asked for each day.

    The state is the stock, the action how much is ordered (no more than there is room
    for). Demand is Poisson, what is not in stock is lost. Sales, less a fixed cost per
    order and 0.05 per item held, are brought into [0, 1] by a linear map.

    Args:
      capacity: the largest stock.
      demand: its mean per day, in items.
      order_cost: fixed cost of an order, in the price of an item.

    Reference:
      Puterman, Markov Decision Processes, 1994, section 3.2.
    """
    items = np.arange(capacity + 1)
    chances = np.exp(-demand) * demand**items / np.cumprod(np.r_[1.0, items[1:]])
    transition = np.zeros((capacity + 1, capacity + 1, capacity + 1))
    profit = np.zeros((capacity + 1, capacity + 1))
    for stock, order in np.ndindex(capacity + 1, capacity + 1):
        held = min(stock + order, capacity)
        transition[stock, order, 1 : held + 1] = chances[:held][::-1]
        transition[stock, order, 0] = 1 - chances[:held].sum()
        sold = held - transition[stock, order] @ items
        profit[stock, order] = sold - order_cost * (held > stock) - 0.05 * held
    low, high = -order_cost - 0.05 * capacity, demand
    return AverageRewardMDP(transition, (profit - low) / (high - low))
