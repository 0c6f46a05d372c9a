"""Leaving captions unfinished never changes which trajectory is kept."""

import numpy as np
import pytest

from sophia_jax.rewards import (
    can_be_kept,
    reward_bounds,
    select_trajectory,
    stop_points,
)
from sophia_jax.rewards.early_stopping import NEVER


def known(table):
    """right, wrong of a table of R (finished, right), W (wrong) and . (unfinished)."""
    marks = np.array([list(row) for row in table])
    return marks == "R", marks == "W"


def test_two_wrong_of_eight_end_a_caption_at_three_quarters():
    right, wrong = known(["RRRRRR.W", "RRRRRRWW", "W......W", "W......."])
    lengths = np.full((4, 8), 5)
    np.testing.assert_array_equal(
        can_be_kept(right, wrong, lengths), [True, False, False, True]
    )


def test_a_caption_that_has_passed_bounds_the_others():
    right, wrong = known(["RRRR", "....", "R...", "R..."])
    lengths = np.array([[9, 7, 8, 9], [7, 8, 9, 7], [9, 9, 9, 6], [7, 9, 9, 9]])
    # The bound is 7 at (0, 1). Of what runs, the second caption's will have 8 tokens at
    # least; one of the third's may still have 7, but comes later than (0, 1) as the
    # fourth's right one of 7 does.
    np.testing.assert_array_equal(
        can_be_kept(right, wrong, lengths), [True, False, False, False]
    )
    lengths[2, 3] = 5
    assert can_be_kept(right, wrong, lengths)[2]


def test_beside_a_bound_short_wrong_ones_and_dead_captions_count_for_nothing():
    right, wrong = known(["RRRR", "W...", "RW.W"])
    lengths = np.array([[9, 9, 9, 9], [2, 9, 9, 9], [2, 2, 2, 2]])
    # With α = 1/2 three of four must be right. In the second caption only the wrong one
    # is short; the third has a short right one, but can have two right ones at most.
    np.testing.assert_array_equal(
        can_be_kept(right, wrong, lengths, threshold=0.5), [True, False, False]
    )


def test_of_equally_long_ones_the_first_is_kept():
    right, wrong = known(["R...", "RRRR"])
    lengths = np.array([[7, 9, 9, 9], [7, 9, 9, 9]])
    np.testing.assert_array_equal(can_be_kept(right, wrong, lengths), [True, True])
    np.testing.assert_array_equal(
        can_be_kept(right[::-1], wrong[::-1], lengths), [True, False]
    )


def test_the_holder_of_the_bound_goes_on_though_its_others_are_longer():
    right, wrong = known(["RRRRRRR."])
    lengths = np.array([[3, 9, 9, 9, 9, 9, 9, 50]])
    assert can_be_kept(right, wrong, lengths).all()


def run(rng, outcomes, lengths, threshold, *, at_once):
    """Decode token by token, some reasonings at a time; captions may be left alone.

    Returns what was finished, and how many tokens were drawn.
    """
    started = np.zeros(outcomes.shape, bool)
    drawn = np.zeros(outcomes.shape, int)
    finished = np.zeros(outcomes.shape, bool)
    alive = np.ones(len(outcomes), bool)
    while True:
        waiting = np.argwhere(~started & alive[:, None])
        running = started & ~finished & alive[:, None]
        free = at_once - running.sum()
        if len(waiting) and free > 0:
            order = rng.permutation(len(waiting))[:free]
            for place in waiting[order]:
                started[tuple(place)] = True
            running = started & ~finished & alive[:, None]
        if not running.any():
            return finished, alive, drawn.sum()
        drawn[running] += rng.integers(1, 4)  # a chunk of tokens
        finished |= started & (drawn >= lengths) & running
        drawn = np.minimum(drawn, lengths)
        alive &= can_be_kept(
            finished & outcomes, finished & ~outcomes, drawn, threshold=threshold
        )


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.75, 1.0])
def test_the_selection_is_the_same_for_any_outcomes_and_any_order(threshold):
    rng = np.random.default_rng(int(threshold * 100))
    saved = total = 0
    for _ in range(700):
        shape = tuple(rng.integers(1, 6, size=2))
        outcomes = rng.random(shape) < rng.random()
        lengths = rng.integers(1, 12, size=shape)  # short: many ties
        expected = select_trajectory(outcomes, lengths, threshold=threshold)
        at_once = int(rng.integers(1, outcomes.size + 1))
        finished, alive, tokens = run(
            rng, outcomes, lengths, threshold, at_once=at_once
        )
        seen = outcomes & finished & alive[:, None]
        assert select_trajectory(seen, lengths, threshold=threshold) == expected
        assert finished[alive].all()
        saved, total = saved + lengths.sum() - tokens, total + lengths.sum()
    assert threshold == 0 or saved > 0.05 * total


def test_bounds_hold_the_reward_and_close_when_all_are_finished():
    right, wrong = known(["RRW.", "....", "RWWR"])
    np.testing.assert_array_equal(
        reward_bounds(right, wrong), [[0.5, 0.75], [0, 1], [0.5, 0.5]]
    )


def test_bad_input_is_refused():
    right, wrong = known(["RW"])
    lengths = np.ones((1, 2), int)
    with pytest.raises(ValueError, match=r"threshold: expected in \[0, 1\], got 2"):
        can_be_kept(right, wrong, lengths, threshold=2)
    with pytest.raises(ValueError, match="each reasoning to be one at most"):
        can_be_kept(right, right, lengths)
    with pytest.raises(TypeError):
        can_be_kept(right, wrong[:, :1], lengths)


def test_stop_points_worked_by_hand():
    # N = 4, more than 0.75: all four must be right. Caption 0 has passed, with 5 tokens
    # at least. Caption 1 has nothing as short: it may stop at 5. Caption 2 has a wrong
    # one: at once. Caption 3 has one of 4 tokens, shorter than 5: to be finished.
    right = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], bool)
    wrong = np.zeros((4, 4), bool)
    wrong[2, 3] = True
    lengths = np.array([[8, 5, 6, 7], [6, 7, 0, 0], [3, 0, 0, 0], [0, 0, 0, 4]])
    assert stop_points(right, wrong, lengths).tolist() == [NEVER, 5, 0, NEVER]
    # Nothing is known of lengths: only what is wrong counts.
    assert stop_points(right, wrong, None).tolist() == [NEVER, NEVER, 0, NEVER]


def test_before_a_caption_has_passed_only_wrong_ones_stop_it():
    right = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], bool)
    wrong = np.array([[0, 0, 0, 0], [1, 0, 0, 0]], bool)
    lengths = np.full((2, 4), 9)
    assert stop_points(right, wrong, lengths).tolist() == [NEVER, 0]


def test_a_length_of_an_unfinished_reasoning_is_not_read():
    right = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], bool)
    wrong = np.zeros((2, 4), bool)
    lengths = np.array([[5, 5, 5, 5], [6, 99, 0, 50]])
    assert stop_points(right, wrong, lengths).tolist() == [NEVER, 5]
