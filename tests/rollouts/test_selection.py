"""Rewards go back to the captions, and the right trajectory is kept."""

import pytest

from sophia_jax.config import SophiaConfig
from sophia_jax.rollouts.selection import (
    KEPT,
    NO_GOOD_CAPTION,
    NO_RIGHT_ANSWER,
    select_trajectories,
)
from sophia_jax.rollouts.store import SELECTION, ShardedTable
from sophia_jax.types import InputError

CONFIG = SophiaConfig(num_captions=2, num_reasonings=4)
COLUMNS = ("caption", "reasoning", "text", "num_tokens", "behavior_log_prob")


def rows_of(question_id, *captions):
    """Rows of two captions: a text of so many words is right, a negative one wrong."""
    return [
        {
            "question_id": question_id,
            "caption": caption,
            "reasoning": reasoning,
            "text": " ".join([f"{caption}{reasoning}"] * abs(words)),
            "token_ids": [7] * 99,  # of another tokenizer
            "behavior_log_probs": [-0.5 * caption, -0.25 * reasoning],
            "reward": float(words > 0),
        }
        for caption, lengths in enumerate(captions)
        for reasoning, words in enumerate(lengths)
    ]


def count_words(texts):
    """Lengths with an end token."""
    return [len(text.split()) + 1 for text in texts]


def select(items, rows, config=CONFIG):
    return select_trajectories(items, rows, count_words, config)


def test_shortest_right_reasoning_under_a_good_caption_is_kept(items):
    # Caption 0 has 4 of 4 right: above 0.75. Caption 1 has 3 of 4, which is not above,
    # so its shorter reasoning does not count. Shortest of caption 0: 5 words at 2.
    rows = rows_of("b", (9, 7, 5, 6), (2, 2, 2, -1))
    assert select(items[:1], rows) == [
        {
            "question_id": "b",
            "least_caption_rewards": [1.0, 0.75],
            "most_caption_rewards": [1.0, 0.75],
            "kept": True,
            "reason": KEPT,
            "caption": 0,
            "reasoning": 2,
            "text": "02 02 02 02 02",
            "num_tokens": 6,
            "behavior_log_prob": -0.5,  # of caption 0 and reasoning 2
            "reward": 1.0,
        }
    ]


def test_a_server_that_gives_no_log_probs_leaves_none(items):
    rows = rows_of("b", (9, 7, 5, 6), (2, 2, 2, -1))
    [row] = select(items[:1], [row | {"behavior_log_probs": None} for row in rows])
    assert row["kept"] and row["behavior_log_prob"] is None


def test_shortest_is_sought_across_all_good_captions(items):
    [row] = select(items[:1], rows_of("b", (9, 7, 5, 6), (8, 8, 8, 4)))
    assert (row["caption"], row["reasoning"], row["num_tokens"]) == (1, 3, 5)


def test_wrong_reasonings_are_never_kept_however_short(items):
    config = SophiaConfig(num_captions=2, num_reasonings=4, threshold=0.5)
    [row] = select(items[:1], rows_of("b", (9, 7, -1, 6), (-1, -1, 3, 3)), config)
    # Caption 0 has 3 of 4 right, above 0.5; caption 1 has exactly 0.5.
    assert (row["caption"], row["reasoning"], row["num_tokens"]) == (0, 3, 7)


@pytest.mark.parametrize(
    ("lengths", "rewards", "reason"),
    [
        (((-1, -2, -3, -4), (-1, -1, -1, -1)), [0.0, 0.0], NO_RIGHT_ANSWER),
        (((1, 2, 3, -4), (-1, 1, -1, -1)), [0.75, 0.25], NO_GOOD_CAPTION),
    ],
)
def test_reason_says_why_nothing_is_kept(items, lengths, rewards, reason):
    [row] = select(items[:1], rows_of("b", *lengths))
    assert row["least_caption_rewards"] == rewards
    assert (row["kept"], row["reason"], row["reward"]) == (False, reason, 0.0)
    assert [row[column] for column in COLUMNS] == [None] * len(COLUMNS)


def test_each_question_is_decided_for_itself_and_in_order(items, tmp_path):
    rows = [
        *rows_of("b", (-1, -1, -1, -1), (-1, -1, -1, -1)),
        *rows_of("a", (3, 3, 3, 3), (2, 2, 2, 2)),
        *rows_of("1/c", (1, 1, 1, -1), (-1, -1, -1, -1)),
    ]
    selected = select(items, rows)
    assert [row["question_id"] for row in selected] == ["b", "a", "1/c"]
    assert [row["kept"] for row in selected] == [False, True, False]
    # On a tie the first: caption 1, reasoning 0.
    assert (selected[1]["caption"], selected[1]["reasoning"]) == (1, 0)
    table = ShardedTable(tmp_path / "selection", SELECTION, 1)
    table.write(0, selected)
    assert table.read(0) == selected


def test_only_right_texts_are_counted_and_none_is_fine(items):
    counted = []

    def count(texts):
        counted.extend(texts)
        return count_words(texts)

    select_trajectories(
        items[:1], rows_of("b", (1, -2, 1, -1), (-1,) * 4), count, CONFIG
    )
    assert counted == ["00", "02"]
    select_trajectories(items[:1], rows_of("b", (-1,) * 4, (-1,) * 4), count, CONFIG)
    assert counted == ["00", "02"]


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda rows: rows[:-1], r"\('b', 1, 3\), got None"),
        (lambda rows: rows[:2] + rows[3:], r"\('b', 0, 2\), got \('b', 0, 3\)"),
        (lambda rows: rows + rows[-1:], r"None, got \('b', 1, 3\)"),
    ],
)
def test_missing_and_repeated_rows_are_refused(items, change, got):
    rows = change(rows_of("b", (1, 1, 1, 1), (1, 1, 1, 1)))
    message = f"reasonings: expected question_id, caption, reasoning = {got}"
    with pytest.raises(InputError, match=message):
        select(items[:1], rows)


def test_rows_of_another_number_of_reasonings_are_refused(items):
    rows = rows_of("b", (1, 1, 1, 1), (1, 1, 1, 1))
    fewer = SophiaConfig(num_captions=2, num_reasonings=3)
    with pytest.raises(InputError, match=r"\('b', 1, 0\), got \('b', 0, 3\)"):
        select(items[:1], rows, fewer)


def test_without_a_counter_the_sampled_tokens_are_counted(items):
    rows = rows_of("b", (9, 7, 5, 6), (2, 2, 2, -1))
    for row, length in zip(rows, (4, 3, 9, 9, 1, 1, 1, 1), strict=True):
        row["token_ids"] = [7] * length
    [selected] = select_trajectories(items[:1], rows, None, CONFIG)
    assert (selected["caption"], selected["reasoning"]) == (0, 1)
    assert selected["num_tokens"] == 3


def test_rewards_of_stopped_captions_are_intervals(items):
    # Caption 1: one right, one wrong, two stopped: between 1/4 and 3/4.
    rows = rows_of("b", (9, 7, 5, 6), (2, -2, 2, 2))
    for row in rows[6:]:
        row["reward"] = None
    [selected] = select(items[:1], rows)
    assert selected["least_caption_rewards"] == [1.0, 0.25]
    assert selected["most_caption_rewards"] == [1.0, 0.75]
    assert (selected["caption"], selected["reasoning"]) == (0, 2)
