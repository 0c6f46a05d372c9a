"""The comparison's rules, shares, measures and verdicts, each on cases made by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from sophia_jax.data.arithmetic import KINDS, caption, solution
from sophia_jax.evaluation.seeds import Estimate
from sophia_jax.recipes.compare.arms import ARMS, FULL, Arm, sweeps
from sophia_jax.recipes.compare.claims import CLAIMS, Claim, verdict
from sophia_jax.recipes.compare.hallucination import is_hallucinated, numbers_named
from sophia_jax.recipes.compare.learning import shares
from sophia_jax.recipes.compare.outcomes import (
    Outcomes,
    as_selection,
    read_outcomes,
    same_questions,
)
from sophia_jax.recipes.compare.rules import at_random, of_first, shortest
from sophia_jax.recipes.compare.run import chosen_arms, in_pairs
from sophia_jax.recipes.compare.scoring import MEASURES
from sophia_jax.recipes.compare.summary import summarize_arms
from sophia_jax.rewards import qualifying_trajectories, select_trajectory
from sophia_jax.types import InputError, Item

# Three captions with 1, 3 and 4 right reasonings of 4.
RIGHT = np.array([[1, 0, 0, 0], [1, 1, 0, 1], [1, 1, 1, 1]], bool)
LENGTHS = np.array([[3, 1, 1, 1], [9, 5, 2, 7], [8, 6, 7, 5]])


def picked(rule, right=RIGHT, lengths=LENGTHS, seed=0):
    return rule(np.random.default_rng(seed), right, lengths)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (shortest(0.0), [(0, 0)]),  # 3 tokens, under a caption that is mostly wrong
        (shortest(0.5), [(1, 1)]),  # 5 tokens, before the (2, 3) of as many
        (shortest(0.75), [(2, 3)]),  # 3 of 4 are not more than 0.75
        (shortest(1.0), []),
        (shortest(0.75, most=2), [(2, 3), (2, 1)]),
        (shortest(0.5, most=3), [(1, 1), (2, 3), (2, 1)]),
        (shortest(0.75, most=8), [(2, 3), (2, 1), (2, 2), (2, 0)]),
        (of_first(shortest(0.5), captions=2, reasonings=4), [(1, 1)]),
        (of_first(shortest(0.75), captions=2, reasonings=4), []),
        # Of the first two reasonings all are right under captions 1 and 2.
        (of_first(shortest(0.75), captions=3, reasonings=2), [(1, 1)]),
        (of_first(shortest(0.75), captions=1, reasonings=1), [(0, 0)]),
    ],
)
def test_rules_keep_what_they_say(rule, expected):
    assert picked(rule) == expected


def test_the_full_rule_is_the_one_of_the_algorithm():
    rng = np.random.default_rng(3)
    for threshold in (0.0, 0.5, 0.75):
        for _ in range(50):
            right = rng.random((4, 8)) < rng.random((4, 1))
            lengths = rng.integers(1, 6, (4, 8))
            chosen = select_trajectory(right, lengths, threshold=threshold)
            expected = [] if chosen is None else [chosen]
            assert picked(shortest(threshold), right, lengths) == expected


def test_at_random_each_that_qualifies_has_the_same_chance():
    rng = np.random.default_rng(0)
    drawn = [at_random(0.5)(rng, RIGHT, LENGTHS)[0] for _ in range(7000)]
    counts = {pair: drawn.count(pair) for pair in drawn}
    assert sorted(counts) == [
        tuple(p) for p in np.argwhere(qualifying_trajectories(RIGHT, 0.5))
    ]
    assert all(abs(count - 1000) < 5 * 30 for count in counts.values())  # sd 29
    assert (0, 0) in {at_random(0.0)(rng, RIGHT, LENGTHS)[0] for _ in range(200)}
    assert at_random(1.0)(rng, RIGHT, LENGTHS) == []


def outcomes(names, right, texts=None):
    right = np.array(right, bool)[:, None, :]
    texts = [[[f"{n}{j}" for j in range(right.shape[2])]] for n in names]
    lengths = np.arange(1, right.size + 1).reshape(right.shape)
    return Outcomes(tuple(names), right, lengths, np.array(texts, object))


def test_questions_of_which_nothing_is_kept_are_left_out():
    table = outcomes("abc", [[0, 1], [0, 0], [1, 1]])
    assert table.keep(shortest(0.0), 0) == {"a": ["a1"], "c": ["c0"]}
    assert table.keep(shortest(0.0, most=2), 0) == {"a": ["a1"], "c": ["c0", "c1"]}
    assert table.keep(shortest(0.5), 0) == {"c": ["c0"]}


def test_what_is_drawn_for_a_question_does_not_depend_on_the_others():
    names = [f"q{number}" for number in range(20)]
    whole = outcomes(names, [[1] * 6] * 20).keep(at_random(0.0), 1)
    part = outcomes(names[5:9], [[1] * 6] * 4).keep(at_random(0.0), 1)
    assert part == {name: whole[name] for name in names[5:9]}
    assert len({text[0][-1] for text in whole.values()}) > 1


def test_arms_share_their_questions_as_far_as_both_have_them():
    names = [f"q{number}" for number in range(100)]
    all_of_them = {name: [name] for name in names}
    some = {name: [name] for name in names[::2]}
    first = same_questions(all_of_them, 30, seed=0)
    second = same_questions(some, 30, seed=0)
    assert len(first) == len(second) == 30
    assert set(first) & set(some) <= set(second)
    assert set(same_questions(all_of_them, 30, seed=1)) != set(first)
    assert len(same_questions(some, 80, seed=0)) == 50


def test_a_selection_has_a_row_for_each_trajectory():
    rows = as_selection({"a": ["x", "y"], "b": ["z"]})
    assert [(r["question_id"], r["text"], r["kept"]) for r in rows] == [
        ("a", "x", True),
        ("a", "y", True),
        ("b", "z", True),
    ]


def row(question, caption, reasoning, reward):
    return {
        "question_id": question,
        "caption": caption,
        "reasoning": reasoning,
        "token_ids": [1] * (reasoning + 1),
        "text": f"{question}{caption}{reasoning}",
        "reward": reward,
        "verdict": "unfinished" if reward is None else "right",
    }


def test_outcomes_are_read_from_a_table_that_is_whole():
    items = [Item(name, "?", "1", ()) for name in "ab"]
    rows = [row(q, c, n, float(c == n)) for q in "ab" for c in (0, 1) for n in (0, 1)]
    table = read_outcomes(items, rows, None, captions=2, reasonings=2)
    assert table.right.tolist() == [[[True, False], [False, True]]] * 2
    assert table.lengths.tolist() == [[[1, 2], [1, 2]]] * 2
    assert table.texts[1, 1, 0] == "b10"
    rows[3] = row("a", 1, 1, None)
    with pytest.raises(InputError, match="expected an outcome of each, got 'unfini"):
        read_outcomes(items, rows, None, captions=2, reasonings=2)


def laboratory(**tables):
    config = SimpleNamespace(seed=0)
    return SimpleNamespace(config=config, items=range(4), outcomes=tables)


def test_arms_get_as_many_questions_as_the_one_with_fewest():
    table = outcomes("abcd", [[1, 1], [1, 1], [1, 0], [0, 0]])
    other = outcomes("abcd", [[1, 1], [0, 0], [0, 0], [0, 0]])
    arms = (
        Arm("base", ""),
        Arm("any", "", shortest(0.0), captions="base"),
        Arm("strict", "", shortest(0.5), captions="base"),
        Arm("two", "", shortest(0.5, most=2), captions="base", matched=False),
        Arm("own", "", shortest(0.0), captions="other", matched=False),
    )
    lab = laboratory(base=table, other=other)
    given, kept = shares(lab, arms)
    assert kept == {"any": 3, "strict": 2, "two": 2, "own": 1}
    assert {name: len(each) for name, each in given.items()} == {
        "any": 2,
        "strict": 2,
        "two": 2,
        "own": 1,
    }
    assert sum(map(len, given["two"].values())) == 4
    with pytest.raises(InputError, match="never: expected a trajectory"):
        shares(lab, (*arms, Arm("never", "", shortest(1.0), captions="base")))


def test_arms_have_names_of_their_own_and_start_from_earlier_ones():
    names = [arm.name for arm in ARMS]
    assert len(set(names)) == len(names)
    for number, arm in enumerate(ARMS):
        assert arm.start in ("base", "pretrained") or arm.start in names[:number]
    for claim in CLAIMS:
        assert {claim.first, claim.second} <= set(names)
    for points in sweeps().values():
        assert {name for _, name in points} <= set(names)
        assert FULL in {name for _, name in points}


def test_unknown_arms_are_refused():
    assert [arm.name for arm in chosen_arms(("sophia", "base"))] == ["base", "sophia"]
    with pytest.raises(InputError, match=r"arms: expected some of base, .*, got ppo"):
        chosen_arms(("base", "ppo"))
    with pytest.raises(InputError, match="expected sophia, from which sophia-grpo"):
        chosen_arms(("base", "sophia-grpo"))


def test_no_arm_runs_beside_the_one_that_it_starts_from():
    arms = (
        Arm("a", ""),
        Arm("b", "", start="a"),
        Arm("c", ""),
        Arm("d", "", start="a"),
    )
    names = [[arm.name for arm in pair] for pair in in_pairs(arms)]
    assert names == [["a"], ["b", "c"], ["d"]]
    assert sum(map(len, in_pairs(ARMS))) == len(ARMS)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_reasoner_writes_names_the_pictures_numbers(kind):
    rng = np.random.default_rng(0)
    for _ in range(40):
        digits = KINDS[kind].shapes[0]
        numbers = tuple(int(rng.integers(10 ** (d - 1), 10**d)) for d in digits)
        if KINDS[kind].answer(numbers) < 0:
            continue
        said = solution(KINDS[kind], numbers, long_check=True)
        assert set(numbers_named(said)) == set(numbers)
        assert not is_hallucinated(said, caption(numbers))
        changed = (*numbers[:-1], numbers[-1] + 1 if numbers[-1] < 9 else 1)
        if numbers[-1] not in changed:
            assert is_hallucinated(said, caption(changed))


@pytest.mark.parametrize(
    ("response", "numbers", "hallucinated"),
    [
        ("\\boxed{6}", [], False),  # names nothing
        ("<think>07+12\n07+2=09\n=19", [7, 12], False),  # cut off
        ("<think>07+13\n07+3=10</think>\\boxed{20}", [7, 13], True),
        ("<think>12,07\n1?0>\n12-07\n=05\ncheck 05+7=12</think>5", [12, 7, 7], False),
        ("<think>07+12\n=19\n019-08\n=11\ncheck 9\n99</think>", [7, 12, 8], True),
        ("<think>912\n7\n12*7\n2*7=14\n=84</think>\\boxed{84}", [912, 7, 7], True),
        ("<think>12\n7\n01+2=03 7\n=10</think>99", [12, 7], False),
        ("no tags: 55", [], False),
    ],
)
def test_only_what_is_read_can_be_hallucinated(response, numbers, hallucinated):
    assert numbers_named(response) == numbers
    assert is_hallucinated(response, "12\n7") is hallucinated


def estimate(low, high):
    return Estimate((low + high) / 2, (low, high), ())


@pytest.mark.parametrize(
    ("paper", "interval", "expected"),
    [
        ((50.0, 55.0), (0.01, 0.05), "agrees"),
        ((50.0, 55.0), (-0.05, -0.01), "disagrees"),
        ((50.0, 55.0), (-0.01, 0.05), "not decided"),
        ((50.0, 55.0), (0.0, 0.05), "not decided"),
        ((55.0, 50.0), (-0.05, -0.01), "agrees"),
        ((55.0, 50.0), (0.01, 0.05), "disagrees"),
    ],
)
def test_verdicts_follow_from_the_interval(paper, interval, expected):
    claim = Claim("base", "sophia", paper, "a table")
    assert verdict(claim, estimate(*interval), {}) == expected


def test_who_names_nothing_cannot_be_compared():
    claim = Claim("base", "sophia", (38, 16), "a table", measure="hallucination")
    named = {"base": 0.0, "sophia": 1.0}
    assert verdict(claim, estimate(0.1, 0.2), named) == "cannot be compared"
    named["base"] = 0.5
    assert verdict(claim, estimate(0.1, 0.2), named) == "disagrees"


def test_the_summary_compares_arms_question_by_question():
    hard = np.array([0.0, 1.0, 0.0, 1.0] * 25)
    better = np.minimum(hard + (np.arange(100) % 10 == 0), 1.0)
    ours = {"base": [hard, 1 - hard], "sophia": [better, 1 - hard]}
    scores = {
        arm: [dict.fromkeys(MEASURES, values) for values in seeds]
        for arm, seeds in ours.items()
    }
    arms = chosen_arms(("base", "sophia"))
    learnt = [{"sophia": {"kept": 5, "questions": 4, "trajectories": 4}}] * 2
    summary = summarize_arms(arms, scores, learnt)
    base = summary["arms"]["base"]
    assert base["pass@1"]["by_seed"] == (0.5, 0.5)
    assert base["difference"]["by_seed"] == pytest.approx((-0.1, 0.0))
    assert base["learnt"] == []
    assert [point["arm"] for point in summary["sweeps"]["captions K"]] == ["sophia"]
    first = summary["claims"][0]
    assert (first["first"], first["second"]) == ("base", "sophia")
    assert first["difference"]["mean"] == pytest.approx(0.05)
    # One seed of two shows no difference: both drawn twice happens in a quarter.
    assert first["verdict"] == "not decided"
    assert any("keep-8" in line for line in summary["claims_without_arms"])
