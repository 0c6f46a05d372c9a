"""Counted by hand: what is right, what is cut off, and what the captions say."""

import json
import random

import numpy as np
import pyarrow.parquet as pq
import pytest

from sophia_jax.evaluation.evaluate import (
    PREDICTIONS,
    answer_questions,
    read_captions,
    read_evaluation,
    save_evaluation,
    summarize,
)
from sophia_jax.evaluation.metrics import wilson_interval
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.types import Completion, InputError, Item

# id: kind, answer, true caption, said answer, how it ends, said caption.
QUESTIONS = {
    "q1": ("sum", "46", "12\n34", r"<think>..</think>\boxed{46}", "stop", "12\n34"),
    "q2": ("sum", "7", "3\n4", r"\boxed{8}", "stop", "3 4"),
    "q3": ("sum", "9", "5\n4", r"\boxed{9}", "length", "54"),
    "q4": ("product", "12", "3\n4", "no\nidea", "stop", "3\n4 5"),
    "q5": ("product", "20", None, r"\boxed{20}", "stop", "4\n5"),
}
ITEMS = tuple(
    Item(name, f"{name}?", answer, (f"{name}.png", "second.png"), kind, caption)
    for name, (kind, answer, caption, *_) in QUESTIONS.items()
)


class Model:
    """A `GenerateFn` that says what stands in a column, in a shuffled order."""

    def __init__(self, column, order=0):
        self.column = column
        self.order = order

    def __call__(self, requests):
        self.requests = list(requests)
        shuffled = random.Random(self.order).sample(self.requests, len(self.requests))
        for request in shuffled:
            row = QUESTIONS[request.group]
            yield Completion(
                group=request.group,
                sample=0,
                text=row[self.column],
                token_ids=np.zeros(int(request.group[1]), np.int32),
                behavior_log_probs=None,
                policy_log_probs=None,
                finish_reason=row[4] if self.column == 3 else "stop",
            )


@pytest.fixture(scope="module")
def verify():
    with AnswerVerifier() as verifier:
        yield verifier.verify
        assert verifier.counts.math_verify == 0  # no process was needed


@pytest.fixture
def rows(verify):
    answered = answer_questions(Model(3), verify, ITEMS, seed=1)
    return read_captions(Model(5), ITEMS, answered, prompt="Read.", seed=1)


def test_rows_hold_what_was_asked_said_and_judged(rows):
    assert [row["question_id"] for row in rows] == list(QUESTIONS)
    assert all(set(row) == set(PREDICTIONS.names) for row in rows)
    first = {
        "question_id": "q1",
        "sample": 0,
        "kind": "sum",
        "level": "",
        "question": "q1?",
        "answer": "46",
        "image": "q1.png",
        "response": r"<think>..</think>\boxed{46}",
        "extracted": "46",
        "verdict": "right",
        "caption": "12\n34",
        "caption_right": True,
        "num_tokens": 1,
        "finish_reason": "stop",
        "score": None,
    }
    assert rows[0] == first
    verdicts = [row["verdict"] for row in rows]
    assert verdicts == ["right", "wrong", "wrong", "wrong", "right"]


def test_order_of_completions_does_not_matter(verify, rows):
    for order in (1, 2):
        again = answer_questions(Model(3, order), verify, ITEMS, seed=1)
        again = read_captions(Model(5, order), ITEMS, again, prompt="Read.", seed=1)
        assert again == rows


def test_cut_off_answer_is_wrong_and_none_whatever_it_says(rows):
    assert rows[2]["response"] == r"\boxed{9}" == rf"\boxed{{{rows[2]['answer']}}}"
    assert rows[2]["finish_reason"] == "length"
    assert (rows[2]["verdict"], rows[2]["extracted"]) == ("wrong", None)


@pytest.mark.parametrize(
    ("said", "extracted", "verdict"),
    [
        ("None of these", "None of these", "right"),
        ("<think>2, or none?</think>\nnone of these.\n", "none of these.", "right"),
        ("All of these", "All of these", "wrong"),
        ("None of\nthese", None, "right"),
        ("It may be all, or none, of these. " * 3, None, "wrong"),
        ("<think>None of these", None, "wrong"),
        ("", None, "wrong"),
    ],
)
def test_a_short_line_of_words_is_an_answer(verify, said, extracted, verdict):
    def generate(requests):
        for request in requests:
            yield Completion(
                group=request.group,
                sample=0,
                text=said,
                token_ids=np.zeros(1, np.int32),
                behavior_log_probs=None,
                policy_log_probs=None,
                finish_reason="stop",
            )

    item = Item("q", "Which?", "None of these", ("q.png",), "", None)
    (row,) = answer_questions(generate, verify, [item], seed=1)
    assert (row["extracted"], row["verdict"]) == (extracted, verdict)


def test_captions_are_right_when_they_say_the_same_but_for_spacing(rows):
    assert [row["caption_right"] for row in rows] == [True, True, False, False, None]
    assert rows[2]["caption"] == "54"
    assert rows[4]["caption"] is None  # no true caption is known, so none was sampled


def test_summary_counted_by_hand(rows):
    summary = summarize(rows)
    # q1 and q5 of five; parsed are q1, q2 and q5; captions of q1 and q2, of four.
    assert summary == {
        **scored(2, 5),
        "num_samples": 1,
        "parsed": 0.6,
        "caption_accuracy": 0.5,
        "mean_tokens": 3.0,
        "cut_off": 1,
        "undecided": 0,
        "by_kind": {
            "product": scored(1, 2),
            "sum": scored(1, 3),
        },
        "by_answer_type": {"integer": scored(2, 5)},
    }


def scored(num_right, num_questions):
    """Scores of questions with one answer each."""
    interval = list(wilson_interval(num_right, num_questions))
    return {
        "pass@1": num_right / num_questions,
        "num_questions": num_questions,
        "interval": interval,
        "intervals": {"pass@1": interval},
        "interval_methods": {"pass@1": "Wilson"},
    }


def test_undecided_is_counted_and_not_right(rows):
    summary = summarize([{**row, "verdict": "undecided"} for row in rows])
    assert (summary["undecided"], summary["pass@1"]) == (5, 0.0)


def test_no_true_caption_is_no_accuracy(verify):
    rows = answer_questions(Model(3), verify, ITEMS, seed=1)
    assert summarize(rows)["caption_accuracy"] is None


def test_questions_are_asked_plainly_once_and_by_their_own_seeds(verify):
    model, captioner = Model(3), Model(5)
    rows = answer_questions(model, verify, ITEMS, seed=1, system="Think.")
    read_captions(captioner, ITEMS, rows, prompt="Read.", seed=1)
    for request, item in zip(model.requests, ITEMS, strict=True):
        assert (request.text, request.system) == (item.question, "Think.")
        assert (request.images, request.num_samples) == (item.images, 1)
    assert [request.text for request in captioner.requests] == ["Read."] * 4
    known = {request.group: request.seed for request in model.requests}
    others = {request.seed for request in captioner.requests}
    assert len({*known.values(), *others}) == 5 + 4
    answer_questions(model, verify, ITEMS[::-1], seed=1)
    assert {request.group: request.seed for request in model.requests} == known
    answer_questions(model, verify, ITEMS, seed=2)
    assert not {request.seed for request in model.requests} & set(known.values())


def test_files_read_back(rows, tmp_path):
    folder = tmp_path / "evaluations" / "base"
    assert read_evaluation(folder) is None
    save_evaluation(folder, rows, summarize(rows))
    assert read_evaluation(folder) == rows
    assert pq.read_table(folder / "predictions.parquet").to_pylist() == rows
    assert pq.read_schema(folder / "predictions.parquet").equals(PREDICTIONS)
    assert json.loads((folder / "summary.json").read_text()) == summarize(rows)
    names = {path.name for path in folder.iterdir()}
    assert names == {"predictions.parquet", "summary.json"}


def test_a_full_disk_leaves_nothing_behind(rows, tmp_path, monkeypatch):
    def full(writer, table, **options):
        raise OSError("No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        save_evaluation(tmp_path, rows, summarize(rows))
    assert not list(tmp_path.iterdir())
    assert read_evaluation(tmp_path) is None


def test_no_question_is_refused(verify):
    with pytest.raises(InputError, match="items: expected at least one question, got"):
        answer_questions(Model(3), verify, [], seed=0)
    with pytest.raises(InputError, match="rows: expected at least one answered"):
        summarize([])


def test_lost_answer_is_found_out(verify):
    def loses(requests):
        return (c for c in Model(3)(requests) if c.group != "q3")

    with pytest.raises(RuntimeError, match=r"got 4; .* sample 0 of group 'q3'"):
        answer_questions(loses, verify, ITEMS, seed=0)


def test_repeated_ids_are_refused(verify):
    with pytest.raises(ValueError, match="requests: expected unique groups, got 'q1'"):
        answer_questions(Model(3), verify, [*ITEMS, ITEMS[0]], seed=0)
