"""Which stored reasonings become preferences, on rows made by hand."""

import pytest

from sophia_jax.data.prompts import DIGITS, PAPER
from sophia_jax.rollouts.pairs import MiningConfig, mine_pairs
from sophia_jax.types import InputError, Item

ITEM = Item("q", "1 + 1?", "2", ("q.png",), kind="sum", level="3")
CONFIG = MiningConfig(num_captions=1, num_reasonings=6, threshold=0.3, num_pairs=9)


def row(reasoning, text, verdict, reason="stop", tokens=3):
    unknown = verdict == "unfinished"
    return {
        "question_id": "q",
        "caption": 0,
        "reasoning": reasoning,
        "text": text,
        "token_ids": [7] * tokens,
        "verdict": verdict,
        "finish_reason": reason,
        "reward": None if unknown else float(verdict == "right"),
    }


ROWS = [
    row(0, "two and more", "right", tokens=9),
    row(1, "two", "right"),
    row(2, "three", "wrong"),
    row(3, "four and", "wrong", reason="length"),
    row(4, "fi", "unfinished", reason="cancelled"),
    row(5, "?", "undecided"),
]


def texts(rows=ROWS, config=CONFIG, prompts=DIGITS, count_tokens=None):
    mined = mine_pairs([ITEM], rows, count_tokens, prompts, config)
    return [(each.preference.answer, each.preference.rejected) for each in mined]


def replaced(number, **fields):
    rows = list(ROWS)
    rows[number] = rows[number] | fields
    return rows


def test_only_what_ended_wrong_is_rejected():
    # Not what was cut off, was stopped, or could not be judged.
    assert texts() == [("two", "three")]


def test_what_was_cut_off_is_rejected_on_request_without_an_end():
    config = MiningConfig(**{**vars(CONFIG), "cut_off": True})
    mined = mine_pairs([ITEM], ROWS, None, DIGITS, config)
    ended = {x.preference.rejected: x.preference.rejected_ended for x in mined}
    assert ended == {"three": True, "four and": False}


def test_a_pair_carries_its_question_and_its_places():
    [mined] = mine_pairs([ITEM], ROWS, None, DIGITS, CONFIG)
    found = mined.preference
    assert (mined.question_id, mined.chosen, mined.rejected) == ("q", (0, 1), (0, 2))
    assert (found.id, found.question, found.images) == ("q/0", "1 + 1?", ("q.png",))
    assert (found.kind, found.level, found.system) == ("sum", "3", None)


def test_both_answer_the_system_prompt_of_the_chosen_text():
    def system(chosen, rejected):
        rows = replaced(1, text=chosen)
        rows[2] = rows[2] | {"text": rejected}
        [mined] = mine_pairs([ITEM], rows, None, PAPER, CONFIG)
        return mined.preference.system

    assert system("<think>a</think> 2", "3") == PAPER.system is not None
    assert system("2", "<think>a</think> 3") is None


def test_the_shortest_is_counted_in_the_policys_tokens():
    def count_tokens(texts):
        return [1 if text == "two and more" else 5 for text in texts]

    assert texts(count_tokens=count_tokens) == [("two and more", "three")]


def test_a_text_is_rejected_once_however_often_it_was_sampled():
    again = replaced(5, text="three", verdict="wrong")
    assert texts(again) == [("two", "three")]
    assert len(texts(replaced(5, text="six", verdict="wrong"))) == 2


def test_a_caption_below_the_threshold_gives_nothing():
    config = MiningConfig(**{**vars(CONFIG), "threshold": 2 / 6})
    assert texts(config=config) == []  # 2 of 6 is not more than that


def test_rows_of_other_questions_and_bad_settings_are_refused():
    with pytest.raises(InputError, match="reasonings: expected question_id, caption"):
        texts(ROWS[:-1])
    with pytest.raises(ValueError, match="num_pairs: expected >= 1, got 0"):
        MiningConfig(1, 1, 0.5, num_pairs=0)
    with pytest.raises(ValueError, match="threshold: expected between 0 and 1, got 2"):
        MiningConfig(1, 1, 2.0)
