"""A model's scores: nothing unreadable becomes a number, and nothing is asked twice."""

import json
import math

import numpy as np
import pytest

from sophia_jax.rewards import JudgeLedger, score_judge, yes_judge
from sophia_jax.types import InputError

PAIRS = [("What is 1 + 1?", answer) for answer in ("2", "3", "two")]


def test_scores_come_in_the_order_of_the_answers(speaker):
    said = {"2": "9", "3": "1", "two": "Score: 8.5"}

    def say(request):
        [answer] = [a for a in said if f" answer begins\n{a}\n" in request.text]
        return said[answer]

    judge = score_judge(speaker(say))
    assert judge(PAIRS) == [9.0, 1.0, 8.5]
    assert judge(PAIRS[::-1]) == [8.5, 1.0, 9.0]
    assert judge.counts() == {
        **{"asked": 3, "missing": 0, "calls": 3, "retries": 0, "unread": {}},
        **{"prompt_tokens": 0, "completion_tokens": 4},
    }


def test_equal_answers_are_asked_about_once_unless_the_picture_differs(speaker):
    model = speaker(lambda request: str(len(model.asked)))
    judge = score_judge(model)
    assert judge([PAIRS[0], PAIRS[1], PAIRS[0]]) == [1.0, 2.0, 1.0]
    assert judge([PAIRS[0]] * 2, [("a.png",), ("b.png",)]) == [3.0, 4.0]
    assert [request.images for request in model.asked] == [
        *((), (), ("a.png",), ("b.png",))
    ]


def test_an_unreadable_reply_is_asked_for_again_in_other_words_and_then_missing(
    speaker,
):
    model = speaker(lambda request: "I would say 10")
    judge = score_judge(model, retries=2, count_tokens=lambda request: 10)
    assert math.isnan(judge(PAIRS[:1])[0])
    assert len(model.asked) == 3
    assert len({request.seed for request in model.asked}) == 3
    first, *later = [request.text for request in model.asked]
    assert all(text.startswith(first) and text != first for text in later)
    assert judge.counts() == {
        **{"asked": 1, "missing": 1, "calls": 3, "retries": 2},
        **{"unread": {"unreadable": 3}, "prompt_tokens": 30, "completion_tokens": 12},
    }
    judge(PAIRS[:1])  # it has been asked often enough
    assert len(model.asked) == 3


def test_a_later_reply_is_taken(speaker):
    replies = iter(["what?", "7", "4"])
    judge = score_judge(speaker(lambda request: next(replies)))
    # The second answer is asked about before the first one is asked about again.
    assert judge(PAIRS[:2]) == [4.0, 7.0]
    assert judge.counts()["retries"] == 1
    assert judge.counts()["missing"] == 0


def test_a_number_that_was_cut_off_is_not_read(speaker):
    judge = score_judge(
        speaker(lambda request: {"text": "1", "finish_reason": "length"}), retries=0
    )
    assert math.isnan(judge(PAIRS[:1])[0])
    assert judge.counts()["unread"] == {"cut_off": 1}


@pytest.mark.parametrize("reason", ["too_long", "refused"])
def test_what_would_come_again_is_not_asked_for_again(speaker, reason):
    model = speaker(lambda request: {"finish_reason": reason})
    judge = score_judge(model, retries=5)
    assert math.isnan(judge(PAIRS[:1])[0])
    assert len(model.asked) == 1
    assert judge.counts()["unread"] == {reason: 1}


def test_yes_is_read_from_the_first_token_however_the_reply_ends(speaker):
    first = (("Yes", math.log(0.3)), (" no", math.log(0.1)), ("It", math.log(0.6)))
    model = speaker(
        lambda r: {"text": "It", "finish_reason": "length", "first_token": first}
    )
    assert yes_judge(model)(PAIRS[:1]) == pytest.approx([0.75])
    silent = speaker(lambda r: "Yes")  # a server that gives no alternatives
    judge = yes_judge(silent, retries=1)
    assert math.isnan(judge(PAIRS[:1])[0])
    assert judge.counts()["calls"] == 2


def test_a_killed_judge_asks_nothing_twice_and_gives_the_same(speaker, tmp_path):
    path = tmp_path / "judge.jsonl"

    def say(request):  # the second answer is read at the third try
        text, number = request.text, request.group[-1]
        return "?" if "\n3\n" in text and number != "2" else str(len(text) % 7)

    whole = speaker(say)
    expected = score_judge(whole)(PAIRS)
    assert len(whole.asked) == 5
    for stop in range(1, 5):
        path.unlink(missing_ok=True)
        killed = speaker(say)
        killed.stops_after = stop
        with pytest.raises(KeyboardInterrupt):
            score_judge(killed, ledger=JudgeLedger(path))(PAIRS)
        rest = speaker(say)
        judge = score_judge(rest, ledger=JudgeLedger(path))
        assert judge(PAIRS) == expected
        asked = sorted(request.group for request in killed.asked + rest.asked)
        assert asked == sorted(request.group for request in whole.asked)
        assert judge.counts()["calls"] == 5
    other = score_judge(
        speaker(None), ledger=JudgeLedger(tmp_path / "new", earlier=[path])
    )
    assert other(PAIRS) == expected  # from the file of another process


def test_a_line_that_was_cut_off_is_asked_for_again_and_a_damaged_one_refused(
    speaker, tmp_path
):
    path = tmp_path / "judge.jsonl"
    score_judge(speaker(lambda r: "5"), ledger=JudgeLedger(path))(PAIRS)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:9])
    model = speaker(lambda r: "6")
    assert score_judge(model, ledger=JudgeLedger(path))(PAIRS) == [5.0, 5.0, 6.0]
    assert len(model.asked) == 1
    for damage in (
        b"[]\n",
        b'{"key": "k", "value": NaN, "tokens": [0, 0]}\n',
        b"\xff\n",
    ):
        path.write_bytes(lines[0] + damage)
        with pytest.raises(InputError, match=r"judge.jsonl:2: expected a line of a"):
            JudgeLedger(path)


def test_of_two_processes_the_one_that_read_a_value_counts(tmp_path):
    paths = [tmp_path / "one", tmp_path / "other"]
    for path, value in zip(paths, (4.0, None), strict=True):
        JudgeLedger(path).write("key", value, outcome="read" if value else "unreadable")
    for order in (paths, paths[::-1]):
        ledger = JudgeLedger(earlier=order)
        assert ledger.tries("key").value == 4.0
        assert ledger.counts()["calls"] == 2
        assert ledger.counts()["missing"] == 0


def test_no_file_holds_more_than_numbers_and_digests(speaker, tmp_path):
    path = tmp_path / "judge.jsonl"
    score_judge(speaker(lambda r: "5"), ledger=JudgeLedger(path))(PAIRS[:1])
    [row] = [json.loads(line) for line in path.read_text().splitlines()]
    assert row.keys() == {"key", "value", "outcome", "tokens"}
    assert np.isfinite(row["value"])


def test_a_negative_number_of_retries_is_refused(speaker):
    with pytest.raises(ValueError, match="retries: expected >= 0, got -1"):
        score_judge(speaker(None), retries=-1)
