"""Pairs of right and wrong reasonings, from tables made by hand."""

import numpy as np
import pytest

from sophia_jax.rewards import select_pairs, select_trajectory

# R: right, w: wrong, -: stopped, so nobody knows.
TABLE = ["RRRw", "Rwww", "R-Rw"]
LENGTHS = np.array([[7, 3, 9, 1], [1, 1, 1, 1], [5, 1, 4, 1]])


def pairs(table=TABLE, lengths=LENGTHS, threshold=0.3, **options):
    outcomes = np.array([list(row) for row in table])
    right, wrong = outcomes == "R", outcomes == "w"
    return select_pairs(right, wrong, lengths, threshold=threshold, **options)


def test_the_shortest_right_one_stands_against_a_wrong_one_under_a_good_caption():
    # 3/4 and 2/4 exceed 0.3, 1/4 does not: its three wrong ones and its right one of
    # one token count for nothing. Left are the wrong (0, 3) and (2, 3).
    [(chosen, rejected)] = pairs()
    assert chosen == (0, 1)
    assert rejected in [(0, 3), (2, 3)]
    # Under 0.5 only the first caption passes: 2/4 is not more than that.
    assert pairs(threshold=0.5) == [((0, 1), (0, 3))]


def test_more_pairs_take_the_next_shortest_and_each_wrong_one_once():
    found = pairs(num_pairs=9)
    assert [chosen for chosen, _ in found] == [(0, 1), (2, 2)]
    assert sorted(rejected for _, rejected in found) == [(0, 3), (2, 3)]
    # Three wrong ones and two right ones: the shortest has its second turn.
    found = pairs(["RRwww"], np.array([[5, 2, 1, 1, 1]]), num_pairs=9)
    assert [chosen for chosen, _ in found] == [(0, 1), (0, 0), (0, 1)]
    assert sorted(rejected for _, rejected in found) == [(0, 2), (0, 3), (0, 4)]


def test_the_draw_is_the_seeds_alone_and_even():
    draws = [pairs(seed=seed)[0][1] for seed in range(400)]
    assert draws == [pairs(seed=seed)[0][1] for seed in range(400)]
    assert draws.count((0, 3)) == pytest.approx(200, abs=4 * 10)  # 4 deviations


def test_the_first_chosen_is_the_trajectory_that_sophia_keeps():
    rng = np.random.default_rng(0)
    for _ in range(50):
        right = rng.random((3, 4)) < 0.6
        lengths = rng.integers(1, 5, (3, 4))
        kept = select_trajectory(right, lengths, threshold=0.5)
        found = select_pairs(right, ~right, lengths, threshold=0.5)
        assert not found or found[0][0] == kept


@pytest.mark.parametrize("table", [["RRRR"], ["wwww"], ["----"], ["RR--"]])
def test_without_both_kinds_there_is_no_pair(table):
    assert pairs(table, LENGTHS[:1]) == []


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="num_pairs: expected >= 1, got 0"):
        pairs(num_pairs=0)
    with pytest.raises(ValueError, match=r"threshold: expected in \[0, 1\], got 2"):
        pairs(threshold=2)
    with pytest.raises(ValueError, match="lengths: expected > 0 where right, got 0"):
        pairs(lengths=0 * LENGTHS)
    right = np.ones((1, 2), bool)
    with pytest.raises(ValueError, match="wrong: expected none that is right"):
        select_pairs(right, right, np.ones((1, 2), int))
