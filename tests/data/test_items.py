"""Question files: good rows are read as meant, bad rows are named and never used."""

import dataclasses
import errno
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from sophia_jax.data.items import ItemFile, read_items, write_items
from sophia_jax.types import InputError, Item

ROW = {"id": "a", "question": "How many?", "answer": "2", "image": "a.png"}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (3, 2), "red").save(tmp_path / "a.png")
    Image.new("L", (3, 2)).save(tmp_path / "b.png")
    (tmp_path / "text.png").write_text("not a picture")
    return tmp_path


def write_lines(folder, *rows):
    lines = [row if type(row) is bytes else json.dumps(row).encode() for row in rows]
    (folder / "items.jsonl").write_bytes(b"\n".join(lines))
    return folder / "items.jsonl"


def read_one(folder, **change):
    """The item of one row; a field set to None stands there as null."""
    return read_items(write_lines(folder, ROW | change)).items[0]


def test_row_becomes_an_item(folder):
    row = ROW | {"kind": "count", "caption": "Two dots.", "level": 3}
    expected = Item(
        id="a",
        question="How many?",
        answer="2",
        images=(str(folder / "a.png"),),
        kind="count",
        caption="Two dots.",
        level="3",
    )
    path = write_lines(folder, row)
    assert read_items(path) == ItemFile(items=(expected,), skipped=())
    assert read_items(str(folder)) == read_items(path)


def test_numbers_become_text(folder):
    item = read_one(folder, id=7, answer=0.5)
    assert (item.id, item.answer) == ("7", "0.5")
    assert read_one(folder, answer=-12).answer == "-12"
    huge = 10**400
    assert read_one(folder, answer=huge).answer == str(huge)


def test_subject_stands_in_for_kind(folder):
    assert read_one(folder).kind == ""
    assert read_one(folder, subject="algebra").kind == "algebra"
    assert read_one(folder, subject="algebra", kind="sum").kind == "sum"


def test_absolute_paths_and_several_pictures_are_allowed(folder):
    images = ["a.png", str(folder / "b.png"), "./sub/../a.png"]
    (folder / "sub").mkdir()
    item = read_one(folder, image=None, images=images)
    expected = (folder / "a.png", folder / "b.png", folder / "sub" / ".." / "a.png")
    assert item.images == tuple(map(str, expected))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<image>\nHow many?", "How many?"),
        ("How many?\n<image1>", "How many?"),
        ("The pieces <image1> are joined.", "The pieces are joined."),
        ("As <image_1> shows, it is held.", "As shows, it is held."),
        ("Look.\n<image1>\nHow many?", "Look.\nHow many?"),
        ("Look\n<image12>at it.", "Look\nat it."),
        ("<image1><image2>\n<image3> Which?", "Which?"),
        ("Is a<b and b>a for <images>?", "Is a<b and b>a for <images>?"),
    ],
)
def test_image_markers_are_removed(folder, written, read):
    assert read_one(folder, question=written).question == read


def test_a_context_stands_between_hint_and_question(folder):
    item = read_one(folder, context="Two balls <image1> collide.\n", hint="In m/s.")
    assert item.question == "In m/s.\nTwo balls collide.\nHow many?"
    assert read_one(folder, context="<image1>").question == "How many?"
    assert read_one(folder, context=None).question == "How many?"


@pytest.mark.parametrize(
    ("final_answer", "unit", "answer"),
    [
        ("5", "m/s", "5 m/s"),
        (["-1,200.5"], " m/s ", "-1,200.5 m/s"),
        (2.5e-07, "V", "2.5e-07 V"),
        ("$5$", "m/s", "$5$ m/s"),
        ("5 cm", "cm", "5 cm"),
        ("1, 2", "cm", "1, 2"),
        ("5", None, "5"),
        ("5", "", "5"),
    ],
)
def test_a_final_answer_that_is_a_number_has_its_unit(
    folder, final_answer, unit, answer
):
    row = {name: value for name, value in ROW.items() if name != "answer"}
    path = write_lines(folder, row | {"final_answer": final_answer, "unit": unit})
    assert read_items(path).items[0].answer == answer


def test_a_unit_beside_an_answer_is_how_it_is_written(folder):
    assert read_one(folder, answer="5", unit="$").answer == "5"


def test_choices_follow_the_question(folder):
    item = read_one(folder, choices=["1 and 2", "A", "none"], answer="C")
    assert item.question == "How many?\nA. 1 and 2\nB. A\nC. none"
    assert item.answer == "(C) none"


@pytest.mark.parametrize(
    "choices",
    [["A. 1 and 2", "B. none"], ["(A) 1 and 2", "(B) none"], ["A: 1 and 2", "B)none"]],
)
@pytest.mark.parametrize("answer", ["B", "none", "B. none"])
def test_choices_that_bear_their_letters_have_them_once(folder, choices, answer):
    item = read_one(folder, choices=choices, answer=answer)
    assert item.question == "How many?\nA. 1 and 2\nB. none"
    assert item.answer == "(B) none"


@pytest.mark.parametrize("choices", [["A. x", "C. y"], ["A. x", "y"], ["A.x", "B.y"]])
def test_choices_of_which_some_bear_no_letter_of_theirs_stay(folder, choices):
    item = read_one(folder, choices=choices, answer="B")
    assert item.question == f"How many?\nA. {choices[0]}\nB. {choices[1]}"


def test_choices_that_the_question_ends_with_are_not_repeated(folder):
    question = "Which is it?\n(A) 1  and 2, (B) none"
    choices = ["1 and 2", "none"]
    item = read_one(folder, question=question, choices=choices, answer="B")
    assert (item.question, item.answer) == (question, "(B) none")
    for others in (["1 and 3", "none"], ["1 and 2"], [*choices, "all"]):
        item = read_one(folder, question=question, choices=others, answer="A")
        assert item.question.startswith(f"{question}\nA. 1 and ")


@pytest.mark.parametrize(
    "choices", [None, [], ["A", "B", "C"], ["<image2>", "<image3>"], ["A", "<image3>"]]
)
def test_choices_drawn_in_the_picture_are_not_repeated(folder, choices):
    item = read_one(folder, choices=choices, answer="B")
    assert (item.question, item.answer) == ("How many?", "B")


def test_drawn_choice_among_written_ones_keeps_its_letter(folder):
    item = read_one(folder, choices=["red <image2>", "<image3>"], answer="B")
    assert (item.question, item.answer) == ("How many?\nA. red\nB.", "B")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "id: expected a unique string, got None"),
        ({"id": ""}, "id: expected a unique string, got ''"),
        ({"id": 1.5}, "id: expected a unique string, got 1.5"),
        ({"id": True}, "id: expected a unique string, got True"),
        ({"question": 3}, "question: expected a non-empty string, got 3"),
        ({"question": " "}, "question: expected a non-empty string, got ' '"),
        ({"question": "x\ud800"}, "question: expected a non-empty string"),
        (
            {"question": " <image1>\n"},
            "question: expected words beside the image markers, got ' <image1>\\n'",
        ),
        ({"answer": None}, "answer: expected a non-empty string or a number, got None"),
        ({"answer": ""}, "answer: expected a non-empty string or a number, got ''"),
        ({"answer": False}, "answer: expected a non-empty string or a number"),
        ({"choices": "A"}, "choices: expected a list of non-empty strings, got 'A'"),
        ({"choices": ["A", ""]}, "choices: expected a list of non-empty strings"),
        ({"choices": ["x"] * 27}, "choices: expected at most 26 strings"),
        ({"caption": ["x"]}, "caption: expected a string or nothing, got ['x']"),
        ({"image": None}, "image: expected a path, or `images` as a list of paths"),
        ({"images": ["a.png"]}, "image: expected a path, or `images` as a list"),
        ({"image": 3}, "image: expected a path, got 3"),
        ({"image": None, "images": []}, "images: expected a list of paths, got []"),
        ({"image": None, "images": "a.png"}, "images: expected a list of paths"),
        (
            {"image": "sub/../../a.png"},
            "image: expected a path inside the file's folder, got 'sub/../../a.png'",
        ),
    ],
)
def test_bad_field_is_named_with_its_rule_and_value(folder, change, message):
    path = write_lines(folder, ROW | change)
    with pytest.raises(InputError) as caught:
        read_items(path)
    assert str(caught.value).startswith(f"{path}:1: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "reason"),
    [("absent.png", "No such file or directory"), ("text.png", "not a picture file")],
)
def test_unreadable_picture_is_a_bad_row(folder, image, reason):
    path = write_lines(folder, ROW, ROW | {"id": "b", "image": image})
    message = (
        f"{path}:2: image: expected a readable picture, "
        f"got {str(folder / image)!r} ({reason})"
    )
    assert read_items(path, skip_bad_rows=True).skipped == (message,)


def test_truncated_and_oversized_pictures_are_bad_rows(folder, monkeypatch):
    Image.effect_noise((64, 64), 50).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:-300])
    Image.new("RGB", (100, 100)).save(folder / "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64)
    rows = [
        ROW,
        ROW | {"id": 1, "image": "cut.jpg"},
        ROW | {"id": 2, "image": "big.png"},
    ]
    read = read_items(write_lines(folder, *rows), skip_bad_rows=True)
    assert [item.id for item in read.items] == ["a"]
    assert "truncated" in read.skipped[0]
    assert "more than 4096 pixels" in read.skipped[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "a", ', 'row: expected a JSON object, got \'{"id": "a",\' ('),
        (b"[1, 2]", "row: expected a JSON object, got [1, 2]"),
        (b'{"answer": NaN}', "row: expected a JSON object, got '{\"answer\": NaN}' ("),
        (b'{"id": "\xff"}', 'row: expected UTF-8, got b\'{"id": "\\xff"}\' ('),
        (b"[" * 100_000, "row: expected a JSON object, got '[[["),
        (b'{"id": ' + b"9" * 5000 + b"}", "row: expected a JSON object, got '{"),
    ],
)
def test_unreadable_line_is_a_bad_row_with_its_number(folder, line, message):
    path = write_lines(folder, ROW, b"", line)
    (skipped,) = read_items(path, skip_bad_rows=True).skipped
    assert skipped.startswith(f"{path}:3: {message}")
    assert "\n" not in skipped and len(skipped) < len(str(path)) + 300


def test_byte_order_mark_and_empty_lines_are_harmless(folder):
    line = json.dumps(ROW).encode()
    (folder / "items.jsonl").write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\n  \n")
    assert len(read_items(folder).items) == 1


def test_repeated_id_is_a_bad_row(folder):
    path = write_lines(folder, ROW | {"id": "1"}, ROW, ROW | {"id": 1})
    read = read_items(path, skip_bad_rows=True)
    assert [item.id for item in read.items] == ["1", "a"]
    message = f"{path}:3: id: expected a unique string, got '1' (as in line 1)"
    assert read.skipped == (message,)


def test_bad_rows_are_counted_or_skipped_in_order(folder):
    bad_image = ROW | {"id": "x", "image": "absent.png"}
    bad_answer = ROW | {"id": "y", "answer": None}
    path = write_lines(folder, bad_image, ROW, bad_answer, b"{", b"3")
    with pytest.raises(InputError) as caught:
        read_items(path)
    assert str(caught.value).startswith(f"{path}:1: image: expected a readable picture")
    assert str(caught.value).endswith(
        "(and 3 more bad rows; --skip-bad-rows skips and lists them)"
    )
    read = read_items(path, skip_bad_rows=True)
    assert [item.id for item in read.items] == ["a"]
    lines = [line.removeprefix(f"{path}:").split(":")[0] for line in read.skipped]
    assert lines == ["1", "3", "4", "5"]


def test_file_without_a_good_row_is_refused(folder):
    with pytest.raises(InputError, match=r"expected a good row, got 0 bad ones$"):
        read_items(write_lines(folder), skip_bad_rows=True)
    with pytest.raises(InputError, match=r"got 1 bad ones; the first: .*:1: row"):
        read_items(write_lines(folder, b"3"), skip_bad_rows=True)


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"items\.jsonl: expected .*No such file"):
        read_items(tmp_path)
    with pytest.raises(InputError, match=r"other: expected an items\.jsonl file or"):
        read_items(tmp_path / "other")


def made_items():
    for index, (name, caption) in enumerate([("one", None), ("a/b ü", "Eine Zwei.")]):
        item = Item(name, f"Wieviel über {index}?\nA. x", "½", (), "sum", caption)
        yield item, Image.new("RGB", (4, 3), (index, 20, 30))


def test_written_items_read_back_equal(tmp_path):
    path = write_items(tmp_path / "deep" / "made", made_items())
    assert path == tmp_path / "deep" / "made" / "items.jsonl"
    read = read_items(path).items
    images = ["one.png", "a%2Fb%20%C3%BC.png"]
    for item, (made, picture), name in zip(read, made_items(), images, strict=True):
        stored_path = str(path.parent / "images" / name)
        assert item == dataclasses.replace(made, images=(stored_path,))
        with Image.open(stored_path) as stored:
            assert stored.tobytes() == picture.tobytes()
    assert "caption" not in json.loads(path.read_text("utf-8").splitlines()[0])


def test_existing_folder_is_left_alone(tmp_path):
    with pytest.raises(InputError, match="folder: expected one that does not exist"):
        write_items(tmp_path, made_items())
    assert list(tmp_path.iterdir()) == []


def test_broken_off_writing_leaves_nothing(tmp_path):
    def broken():
        yield from made_items()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_items(tmp_path / "made", broken())
    assert list(tmp_path.iterdir()) == []


def test_folder_appears_by_one_renaming(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", full)
    message = "made: expected to write it, got No space left on device"
    with pytest.raises(InputError, match=message):
        write_items(tmp_path / "made", made_items())
    assert list(tmp_path.iterdir()) == []


def test_leftover_of_a_killed_writing_is_cleared(tmp_path):
    (tmp_path / ".made.partial" / "images").mkdir(parents=True)
    (tmp_path / ".made.partial" / "images" / "old.png").write_text("old")
    path = write_items(tmp_path / "made", made_items())
    assert [found.name for found in tmp_path.iterdir()] == ["made"]
    assert not (path.parent / "images" / "old.png").exists()


def test_unwritable_items_are_refused(tmp_path):
    item, image = next(made_items())
    with pytest.raises(InputError, match="id: expected a unique string, got 'one'"):
        write_items(tmp_path / "made", [(item, image), (item, image)])
    with pytest.raises(InputError, match="items_with_images: expected at least one"):
        write_items(tmp_path / "made", [])
    with pytest.raises(InputError, match=r"made: expected to write it, got .*CMYK"):
        write_items(tmp_path / "made", [(item, image.convert("CMYK"))])
    assert list(tmp_path.iterdir()) == []
