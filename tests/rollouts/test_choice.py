"""Another trajectory than the shortest may be kept, by a score."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from sophia_jax.config import SophiaConfig
from sophia_jax.rewards import select_trajectory
from sophia_jax.rollouts.choice import Candidates, judged, reward_weighted, shortest
from sophia_jax.rollouts.selection import NO_SCORE, select_trajectories
from sophia_jax.types import Item

CONFIG = SophiaConfig(num_captions=2, num_reasonings=4, early_stopping=False)


def candidates(name, lengths=(5, 3, 4)):
    return Candidates(
        item=Item(name, f"question {name}", "42", ()),
        texts=tuple(f"answer of {length}" for length in lengths),
        lengths=np.array(lengths),
        caption_rewards=np.ones(len(lengths)),
    )


def rows_of(item, right, lengths):
    return [
        {
            "question_id": item.id,
            "caption": caption,
            "reasoning": reasoning,
            "text": f"{caption}{reasoning}",
            "token_ids": [7] * int(lengths[caption, reasoning]),
            "behavior_log_probs": [-1.0],
            "reward": float(right[caption, reasoning]),
        }
        for caption, reasoning in np.ndindex(right.shape)
    ]


def test_the_shortest_is_that_of_select_trajectory():
    rng, item = np.random.default_rng(0), Item("a", "question", "42", ())
    for _ in range(40):
        right = rng.random((2, 4)) < 0.8
        lengths = rng.integers(1, 5, size=(2, 4))
        [row] = select_trajectories([item], rows_of(item, right, lengths), None, CONFIG)
        expected = select_trajectory(right, lengths, threshold=0.75)
        assert ((row["caption"], row["reasoning"]) if row["kept"] else None) == expected


def test_a_low_temperature_keeps_the_best_and_an_infinite_one_any():
    def by_length(found):
        return -found.lengths

    cold, hot = (reward_weighted(by_length, temperature=t) for t in (0.0, np.inf))
    names = [f"{n}" for n in range(300)]
    assert {cold(candidates(name)) for name in names} == {shortest(candidates("a"))}
    counts = Counter(hot(candidates(name)) for name in names)
    assert sorted(counts) == [0, 1, 2]
    assert min(counts.values()) > 70  # of 100 expected, standard deviation 8


def test_the_chances_are_the_softmax_of_the_scores():
    def scores(found):
        return np.log([1.0, 2.0, 5.0])

    choose = reward_weighted(scores, temperature=1.0)
    counts = Counter(choose(candidates(f"{n}")) for n in range(1600))
    # 200, 400 and 1000 are expected, with standard deviations 13, 17 and 19
    assert [counts[i] for i in range(3)] == pytest.approx([200, 400, 1000], abs=80)


def test_a_question_draws_the_same_whatever_came_before():
    choose = reward_weighted(lambda found: np.zeros(3), temperature=1.0, seed=4)
    alone = choose(candidates("q"))
    for name in "abc":
        choose(candidates(name))
    assert choose(candidates("q")) == alone


def test_a_judge_sees_question_and_text_and_its_best_is_kept():
    item = Item("a", "which?", "42", ())
    right, lengths = np.ones((2, 4), bool), np.arange(1, 9).reshape(2, 4)
    seen = []

    def judge(pairs):
        seen.extend(pairs)
        return [10.0 if text == "12" else 1.0 for _, text in pairs]

    choose = reward_weighted(judged(judge), temperature=0.0)
    rows = rows_of(item, right, lengths)
    [row] = select_trajectories([item], rows, None, CONFIG, choose=choose)
    assert (row["caption"], row["reasoning"], row["num_tokens"]) == (1, 2, 7)
    assert seen == [("which?", f"{c}{r}") for c in range(2) for r in range(4)]


def test_what_no_score_is_known_of_is_not_kept_and_the_reason_says_so():
    item = Item("a", "which?", "42", ())
    rows = rows_of(item, np.ones((2, 4), bool), np.ones((2, 4), int))
    choose = reward_weighted(lambda found: np.full(8, np.nan), temperature=1.0)
    [row] = select_trajectories([item], rows, None, CONFIG, choose=choose)
    assert (row["kept"], row["reason"], row["reward"]) == (False, NO_SCORE, 0.0)


def test_early_stopping_and_another_choice_do_not_go_together():
    early = dataclasses.replace(CONFIG, early_stopping=True)
    choose = reward_weighted(lambda found: found.lengths, temperature=1.0)
    with pytest.raises(ValueError, match="early_stopping: expected False"):
        select_trajectories([], [], None, early, choose=choose)


def test_a_negative_temperature_is_refused():
    with pytest.raises(ValueError, match="temperature: expected >= 0, got -1"):
        reward_weighted(lambda found: found.lengths, temperature=-1)
