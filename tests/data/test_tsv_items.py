"""TSV files of VLMEvalKit: shared pictures, lists, options, and what is wrong."""

import base64
import csv
import json

import pytest

from sophia_jax.data.sources import read_source
from sophia_jax.types import InputError


@pytest.fixture
def picture(forms):
    """A picture of its own for each seed, in base64."""
    return lambda seed: base64.b64encode(forms.encode(seed)).decode()


@pytest.fixture
def row(picture):
    return {
        "index": "1",
        "image": picture(1),
        "question": "How many?",
        "answer": "2",
        "category": "",
    }


@pytest.fixture
def read(forms, store, tmp_path):
    """Reads rows from a file, and skips the bad ones."""

    def read(*rows, skip_bad_rows=True):
        path = forms.cells(tmp_path / "all.tsv", list(rows))
        return read_source(path, store=store, skip_bad_rows=skip_bad_rows)

    return read


def test_a_row_may_share_the_picture_of_another_before_or_after_it(read, row):
    rows = [
        row | {"index": "0", "image": "1"},
        row,
        row | {"index": "2", "image": "1"},
    ]
    first, second, third = read(*rows).items
    assert first.images == second.images == third.images
    assert len(first.images) == 1


def test_a_shared_picture_may_stand_in_a_bad_row(read, row):
    found = read(row | {"answer": ""}, row | {"index": "2", "image": "1"})
    assert [item.id for item in found.items] == ["2"]
    assert len(found.skipped) == 1


@pytest.mark.parametrize("spell", [json.dumps, str])
def test_several_pictures_are_a_list_in_either_spelling(read, row, picture, spell):
    several = row | {
        "image": spell([picture(1), picture(2)]),
        "question": "<image 1> <image 2>\nIs <image 2> larger?",
    }
    one, two = read(several, row | {"index": "2", "image": picture(2)}).items
    assert len(one.images) == 2
    assert one.images[1] == two.images[0]
    assert one.question == "Is (picture 2) larger?"


@pytest.mark.parametrize(
    "choices", ["['9 cm', '12 cm']", '["9 cm", "12 cm"]', "", "[]"]
)
def test_options_may_be_a_list_in_one_column(read, row, choices):
    (item,) = read(row | {"choices": choices, "answer": "B"}).items
    written = "9" in choices
    assert item.answer == ("(B) 12 cm" if written else "B")
    assert item.question.endswith("\nA. 9 cm\nB. 12 cm") == written


def test_a_row_may_use_fewer_columns_of_options_or_none(read, row):
    options = {"A": "yes", "B": "no", "C": "nan", "D": ""}
    blank = dict.fromkeys("ABCD", "")
    two, none = read(
        row | {"answer": "B"} | options, row | {"index": "2", "answer": "B"} | blank
    ).items
    assert two.question == "How many?\nA. yes\nB. no"
    assert (two.answer, none.answer) == ("(B) no", "B")


def test_a_final_answer_is_a_list_of_one(read, row):
    fields = {name: cell for name, cell in row.items() if name != "answer"}
    one, plain = (
        fields | {"index": "1", "final_answer": r"['$\\frac{1}{2}$']"},
        fields | {"index": "2", "final_answer": "7"},
    )
    found = read(one, plain, fields | {"index": "3", "final_answer": "['1', '2']"})
    assert [item.answer for item in found.items] == [r"$\frac{1}{2}$", "7"]
    assert "final_answer: expected a non-empty string or a number" in found.skipped[0]


def test_a_hint_stands_before_the_question(read, row):
    (item,) = read(
        row | {"hint": "Answer with a number.", "category": "counting"}
    ).items
    assert item.question == "Answer with a number.\nHow many?"
    assert item.kind == "counting"


def test_pictures_may_be_files_beside_it(read, row, forms, tmp_path):
    (tmp_path / "one.png").write_bytes(forms.encode(1))
    fields = {name: row[name] for name in ("index", "question", "answer")}
    found = read(
        fields | {"image_path": "one.png"},
        fields | {"index": "2", "image_path": "../one.png"},
    )
    assert found.items[0].images == (str(tmp_path / "one.png"),)
    assert "image_path: expected a path inside the file's folder" in found.skipped[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": ""}, "answer: expected a non-empty string or a number, got ''"),
        ({"answer": "nan"}, "answer: expected a non-empty string or a number, got ''"),
        ({"question": ""}, "question: expected a non-empty string, got ''"),
        ({"index": ""}, "id: expected a unique string, got ''"),
        ({"index": "1"}, "id: expected a unique string, got '1' (as in line 2)"),
        ({"image": ""}, "image: expected base64, or the index of a row that has it"),
        ({"image": "77"}, "image: expected base64, or the index of a row that has it"),
        ({"image": "2"}, "image: expected base64, or the index of a row that has it"),
        ({"image": "x!" * 40}, "image: expected base64, got 'x!x!x!"),
        ({"image": "abc" * 40}, "image: expected a PNG, JPEG, WebP, GIF, BMP or TIFF"),
        ({"image": "[" + "1," * 40 + "1]"}, "image: expected base64, got 1"),
        ({"image": "['" + "a" * 80}, "image: expected a list, got \"['aaa"),
        ({"choices": "9 cm"}, "choices: expected a list, got '9 cm'"),
        ({"choices": "[" * 500}, "choices: expected a list, got '[[["),
        ({"choices": "[1, 2]"}, "choices: expected a list of non-empty strings"),
        ({"choices": "['a', 'b']"}, "answer: expected a letter of A to B"),
        ({"A": "x", "B": "", "C": "y"}, "options: expected columns without a gap"),
        ({"question": "x\udcff"}, "question: expected a non-empty string"),
    ],
)
def test_a_bad_cell_is_named_with_its_line(read, row, change, message, tmp_path):
    blank = {name: "" for name in change if name not in row}
    bad = row | {"index": "2"} | change
    if change.get("question", "").endswith("\udcff"):
        bad["question"] = "x"
    found = read(row | blank, bad)
    if bad["question"] == "x":  # a byte that is no UTF-8, as no writer writes it
        path = tmp_path / "all.tsv"
        path.write_bytes(path.read_bytes().replace(b"\tx\t", b"\tx\xff\t"))
        found = read_source(path, skip_bad_rows=True)
    assert [item.id for item in found.items] == ["1"]
    assert found.skipped[0].startswith(f"{tmp_path / 'all.tsv'}:3: {message}")
    assert len(found.skipped[0]) < len(str(tmp_path)) + 300


def test_a_line_is_that_where_the_row_begins(read, row):
    found = read(row | {"question": "One\ntwo\nthree?"}, row | {"answer": ""}, row)
    assert found.skipped[0].partition(".tsv:")[2].startswith("5: answer")
    assert found.skipped[1].partition(".tsv:")[2].startswith("6: id")


def test_a_row_of_another_length_is_a_bad_row(read, row, tmp_path):
    read(row)
    path = tmp_path / "all.tsv"
    path.write_bytes(path.read_bytes() + b"2\tonly two\r\n")
    found = read_source(path, skip_bad_rows=True)
    assert found.skipped == (f"{path}:3: row: expected 5 cells, got 2",)


@pytest.mark.parametrize("missing", ["question", "answer", "image"])
def test_a_missing_column_is_named(read, row, missing):
    fields = {name: cell for name, cell in row.items() if name != missing}
    with pytest.raises(InputError, match=f"all.tsv: expected columns .*no {missing}"):
        read(fields)


def test_a_column_that_stands_there_twice_is_refused(tmp_path):
    path = tmp_path / "all.tsv"
    path.write_text("index\timage\tquestion\tanswer\tanswer\n")
    with pytest.raises(InputError, match="expected each column once, got answer"):
        read_source(path)


def test_what_cannot_be_told_apart_ends_the_reading(read, row, tmp_path):
    """An open quote would swallow the rows behind it."""
    read(row)
    path = tmp_path / "all.tsv"
    path.write_bytes(path.read_bytes() + b'2\t"open\tHow?\t3\t\r\n4\tx\tHow?\t3\t\r\n')
    with pytest.raises(InputError, match="expected tab-separated cells, got: unexpec"):
        read_source(path, skip_bad_rows=True)


def test_cells_may_be_longer_than_pythons_default(read, row, forms, store):
    big = base64.b64encode(forms.encode(1, size=(900, 700), suffix="BMP")).decode()
    limit = csv.field_size_limit()
    assert len(big) > 10 * limit
    (item,) = read(row | {"image": big}).items
    assert item.images[0].endswith(".bmp")
    assert csv.field_size_limit() == limit


def test_a_cell_beyond_all_measure_is_refused_with_its_line(read, row, monkeypatch):
    monkeypatch.setattr("sophia_jax.data.tsv_items.MAX_FIELD", 1000)
    limit = csv.field_size_limit()
    with pytest.raises(InputError, match=r"all.tsv:2: row: .*field larger than"):
        read(row)
    assert csv.field_size_limit() == limit


def test_an_empty_column_of_answers_leaves_nothing(read, row):
    with pytest.raises(
        InputError, match="expected a good row, got 2 bad ones; the fir"
    ):
        read(row | {"answer": ""}, row | {"index": "2", "answer": ""})
    with pytest.raises(InputError, match=r"answer: .*and 1 more bad rows"):
        read(
            row | {"answer": ""},
            row | {"index": "2", "answer": ""},
            skip_bad_rows=False,
        )
