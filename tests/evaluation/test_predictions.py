"""The table of answers: read back as written, and refused when it is another."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sophia_jax.evaluation.predictions import (
    PREDICTIONS,
    by_question,
    read_predictions,
    write_predictions,
)
from sophia_jax.types import InputError


def make_row(question_id="q1", sample=0, **fields):
    row = {
        "question_id": question_id,
        "sample": sample,
        "kind": "algebra",
        "level": "3",
        "question": "How many?",
        "answer": "7",
        "image": None,
        "response": "\\boxed{7}",
        "extracted": "7",
        "verdict": "right",
        "caption": None,
        "caption_right": None,
        "num_tokens": 3,
        "finish_reason": "stop",
        "score": None,
    }
    return row | fields


@pytest.fixture
def table(tmp_path):
    """Writes rows as a table, changed before it is written; gives the path."""

    def write(rows, change=lambda table: table):
        path = tmp_path / "predictions.parquet"
        pq.write_table(change(pa.Table.from_pylist(rows, PREDICTIONS)), path)
        return path

    return write


def test_parts_are_read_back_as_one_table(tmp_path):
    path = tmp_path / "predictions.parquet"
    rows = [make_row(f"q{n}", sample) for n in range(3) for sample in range(2)]
    write_predictions(path, [rows[:4], rows[4:]])
    assert read_predictions(path) == rows
    assert read_predictions(path, ["sample", "verdict"])[1] == {
        "sample": 1,
        "verdict": "right",
    }
    assert [each.name for each in tmp_path.iterdir()] == ["predictions.parquet"]


def test_a_part_that_fails_leaves_no_file(tmp_path):
    def parts():
        yield [make_row()]
        raise InputError("a shard is damaged")

    with pytest.raises(InputError, match="damaged"):
        write_predictions(tmp_path / "predictions.parquet", parts())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("verdict"), "verdict: expected string, got no such"),
        (
            lambda t: t.set_column(1, "sample", pa.array([0.0, 1.0])),
            "sample: expected int32, got double",
        ),
        (
            lambda t: t.set_column(9, "verdict", pa.array(["right", None])),
            "verdict: expected no null, got one in row 1",
        ),
    ],
)
def test_a_foreign_table_is_refused_in_a_line(table, change, message):
    path = table([make_row(), make_row("q2")], change)
    with pytest.raises(InputError) as error:
        read_predictions(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_damaged_and_a_missing_file_are_refused(tmp_path):
    path = tmp_path / "predictions.parquet"
    with pytest.raises(InputError, match="expected the answers of an evaluation, got"):
        read_predictions(path)
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match="expected a whole table, got"):
        read_predictions(path)


def test_samples_come_in_order_whatever_the_rows_do():
    rows = [make_row("b", 1), make_row("a", 0), make_row("b", 0), make_row("a", 1)]
    grouped = by_question(rows, "here")
    assert {name: [r["sample"] for r in each] for name, each in grouped.items()} == {
        "b": [0, 1],
        "a": [0, 1],
    }
    assert list(grouped) == ["b", "a"]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "here: expected at least one answered question, got none"),
        (
            [("q1", 0), ("q2", 0), ("q2", 0)],
            "here: expected each sample once, got sample 0 of question 'q2' 2 times",
        ),
        (
            [("q1", 0), ("q1", 1), ("q2", 1)],
            r"here: expected samples 0 to 1 of each question, got \[1\] of 'q2'",
        ),
        ([("q1", 1)], r"expected samples 0 to 0 of each question, got \[1\] of 'q1'"),
    ],
)
def test_samples_that_are_not_whole_are_refused(samples, message):
    with pytest.raises(InputError, match=message):
        by_question([make_row(*each) for each in samples], "here")


def test_a_table_of_before_there_were_judges_is_read_without_scores(tmp_path):
    old = PREDICTIONS.remove(PREDICTIONS.get_field_index("score"))
    row = {field.name: "x" for field in old if field.type == pa.string()}
    row |= {"sample": 0, "caption_right": None, "num_tokens": 3}
    pq.write_table(pa.Table.from_pylist([row], old), tmp_path / "old.parquet")
    assert read_predictions(tmp_path / "old.parquet") == [row | {"score": None}]
    columns = ("score", "verdict")
    [read] = read_predictions(tmp_path / "old.parquet", columns)
    assert read == {"score": None, "verdict": "x"}
