"""The table for VLMEvalKit: its columns, and that it is read back as it was."""

import ast
import csv

import pandas
import pytest

from sophia_jax.evaluation.vlmevalkit import (
    split_options,
    vlmevalkit_row,
    write_vlmevalkit,
)


def make_row(question_id, question, answer, response, sample=0):
    return {
        "question_id": question_id,
        "sample": sample,
        "kind": "plane geometry",
        "level": "4",
        "question": question,
        "answer": answer,
        "response": response,
    }


CHOICE = "Which one?\nA. 3 cm\nB. 4 cm\nC. none"
ROWS = [
    make_row("17", CHOICE, "(B) 4 cm", "<think>B\\boxed{A}\n</think>\n\n\\boxed{B}"),
    make_row("18", 'How "long"?\tIn cm.', "4", "Line\r\none\n\n\tand 'two', \"3\"\0"),
    make_row("18", 'How "long"?\tIn cm.', "4", "the second sample", sample=1),
]


@pytest.fixture
def written(tmp_path):
    """What a reader of tab-separated values makes of the file."""
    path = tmp_path / "vlmevalkit.tsv"
    write_vlmevalkit(path, iter(ROWS))
    with path.open(encoding="utf-8", newline="") as file:
        yield list(csv.DictReader(file, delimiter="\t", strict=True))


def test_one_row_for_each_question_in_the_columns_that_scorers_read(written):
    choice, free = written
    assert choice == {
        "index": "17",
        "question": "Which one?",
        "A": "3 cm",
        "B": "4 cm",
        "C": "none",
        "choices": "['3 cm', '4 cm', 'none']",
        "answer": "B",
        "category": "plane geometry",
        "level": "4",
        "prediction": "\\boxed{B}",
        "thinking": "B\\boxed{A}",
    }
    assert (free["A"], free["choices"], free["answer"]) == ("", "[]", "4")
    assert ast.literal_eval(choice["choices"])[1] == "4 cm"


def test_tabs_quotes_and_line_ends_are_read_back(written):
    assert written[1]["question"] == 'How "long"?\tIn cm.'
    # A null character ends a text in pandas' reader; its picture does not.
    assert written[1]["prediction"] == "Line\r\none\n\n\tand 'two', \"3\"\u2400"


def test_every_field_stands_in_quotes_as_pandas_writes_it(tmp_path):
    path = tmp_path / "vlmevalkit.tsv"
    write_vlmevalkit(path, [make_row("1", "How many?", "4", 'It is "4"')])
    header, row, end = path.read_bytes().split(b"\n")
    assert header.startswith(b'"index"\t"question"\t"choices"\t"answer"\t')
    assert row.endswith(b'\t"It is ""4"""\t""')
    assert end == b""


def test_pandas_reads_it_as_vlmevalkit_does(tmp_path):
    path = tmp_path / "vlmevalkit.tsv"
    write_vlmevalkit(path, ROWS)
    table = pandas.read_csv(path, sep="\t")
    assert table["index"].tolist() == [17, 18]  # as a benchmark's own
    expected = [vlmevalkit_row(row) for row in ROWS[:2]]
    for name in ("question", "answer", "category", "prediction", "choices"):
        assert [str(each) for each in table[name]] == [row[name] for row in expected]
    again = tmp_path / "again.tsv"
    table.to_csv(again, sep="\t", index=False, encoding="utf-8", quoting=csv.QUOTE_ALL)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("response", "prediction", "thinking"),
    [
        ("\\boxed{4}", "\\boxed{4}", ""),
        ("<think>so</think>4", "4", "so"),
        ("so</think>4", "4", "so"),
        # What follows nothing but thinking: all of it, as for our own verifier.
        ("<think>so 4</think>\n", "<think>so 4</think>", ""),
        ("<think>never ends", "<think>never ends", ""),
        ("<think>a</think>b<think>c</think>d", "d", "a</think>b<think>c"),
    ],
)
def test_thinking_stands_apart(response, prediction, thinking):
    row = vlmevalkit_row(make_row("1", "?", "4", response))
    assert (row["prediction"], row["thinking"]) == (prediction, thinking)


@pytest.mark.parametrize(
    ("question", "text", "options"),
    [
        ("Why?", "Why?", {}),
        ("Why?\nA. so", "Why?\nA. so", {}),
        ("Why?\nB. so\nC. no", "Why?\nB. so\nC. no", {}),
        ("Why?\nA. so\nB.\nC. no", "Why?", {"A": "so", "B": "", "C": "no"}),
        ("A. Turing?\nA. yes\nB. no", "A. Turing?", {"A": "yes", "B": "no"}),
        ("Why?\nA. one\nline more\nB. no", "Why?", {"A": "one\nline more", "B": "no"}),
        ("A.B.C is what?\nA.yes", "A.B.C is what?\nA.yes", {}),
    ],
)
def test_options_are_the_lines_at_the_end(question, text, options):
    assert split_options(question) == (text, options)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("(B) 4 cm", "B"),
        ("C", "C"),
        ("(D)", "D"),
        ("(K) 4 cm", "K"),
        ("K", "K"),
        ("4", "4"),
        ("Big", "Big"),
    ],
)
def test_of_a_choice_the_letter_stands_alone(answer, letter):
    assert vlmevalkit_row(make_row("1", "?", answer, ""))["answer"] == letter
