"""Builders of published benchmarks: official files in, the same questions out."""

import json
import os
import sys
from pathlib import Path

import pytest

from sophia_jax.data.sources import read_source
from sophia_jax.data.tfds_items import open_tfds
from sophia_jax.types import InputError

SHARED = Path(os.environ.get("SOPHIA_SHARED", "/")) / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(),
    reason="needs subsets of the benchmarks: set SOPHIA_SHARED to their folder",
)


@pytest.fixture
def manual(tmp_path, monkeypatch, home):
    """Where the official files of a benchmark belong."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))

    def folder(name):
        made = tmp_path / "tfds" / "downloads" / "manual" / name
        made.mkdir(parents=True)
        return made

    return folder


def write_mathvision(folder, rows, pictures):
    (folder / "data").mkdir()
    (folder / "images").mkdir()
    lines = [json.dumps(row) for row in rows]
    (folder / "data" / "testmini.jsonl").write_text("\n".join(lines) + "\n")
    for row, picture in zip(rows, pictures, strict=True):
        (folder / row["image"]).write_bytes(picture)


def write_dynamath(folder, rows_by_variant, pictures):
    for variant, rows in rows_by_variant.items():
        trial = folder / "samples and result" / "10trials" / f"trial{variant}"
        (trial / "image").mkdir(parents=True)
        (trial / "dataset.json").write_text(json.dumps(rows))
        for key, row in rows.items():
            (trial / row["image"]).write_bytes(pictures[key, variant])


def write_tabmwp(folder, rows, pictures):
    tables = folder / "data" / "tabmwp"
    (tables / "tables").mkdir(parents=True)
    (tables / "problems_dev1k.json").write_text(json.dumps(rows))
    for key in rows:
        (tables / "tables" / f"{key}.png").write_bytes(pictures[key])


MATHVISION = {
    "id": "4",
    "question": "Which side is longest?\n<image1>",
    "options": ["$a$", "$b$"],
    "answer": "B",
    "solution": None,
    "level": 2,
    "subject": "metric geometry - length",
    "image": "images/4.jpg",
}
DYNAMATH = {
    "question": "Is the function even? choice: (A) Yes (B) No",
    "answer": "B",
    "image": "image/image6.png",
    "answer_type": "multiple choice",
    "subject": "analytic geometry",
    "level": "high school",
}
TABMWP = {
    "question": "How much is it?",
    "choices": None,
    "answer": "4.20",
    "unit": "$",
    "table": "almonds | $6.00",
    "ques_type": "free_text",
    "ans_type": "decimal_number",
    "grade": 6,
    "solution": "",
    "split": "dev",
}


def test_mathvision(manual, forms):
    free = MATHVISION | {"id": "5", "options": [], "answer": "\\frac{1}{2}"}
    free |= {"image": "images/5.jpg"}
    jpeg = forms.encode(1, suffix="JPEG")
    write_mathvision(manual("mathvision"), [MATHVISION, free], [jpeg, jpeg])
    choice, number = sorted(
        read_source("tfds:mathvision/testmini").items, key=lambda item: item.id
    )
    assert choice.question == "Which side is longest?\nA. $a$\nB. $b$"
    assert choice.answer == "(B) $b$"
    assert (choice.kind, choice.level) == ("metric geometry - length", "2")
    assert Path(choice.images[0]).read_bytes() == jpeg
    assert number.answer == "\\frac{1}{2}"


def test_dynamath_has_a_split_for_each_variant(manual, forms):
    pictures = {("6", v): forms.encode(v) for v in (1, 2)}
    rows = {v: {"6": DYNAMATH | {"answer": "AB"[v - 1]}} for v in (1, 2)}
    write_dynamath(manual("dynamath"), rows, pictures)
    for variant, answer in ((1, "(A) Yes"), (2, "(B) No")):
        (item,) = read_source(f"tfds:dynamath/variant{variant}").items
        assert (item.id, item.answer) == (f"6_v{variant}", answer)
        assert item.question == DYNAMATH["question"]
        assert item.level == "high school"
        assert Path(item.images[0]).read_bytes() == pictures["6", variant]
    with pytest.raises(InputError, match="one of the splits variant1, variant2, got"):
        read_source("tfds:dynamath/variant3")


def test_tabmwp_tells_the_unit_and_finds_the_letter(manual, forms):
    choice = TABMWP | {"choices": ["surplus", "shortage"], "answer": "shortage"}
    rows = {"7": TABMWP, "8": choice | {"unit": None}}
    write_tabmwp(manual("tabmwp"), rows, {key: forms.encode(int(key)) for key in rows})
    free, choice = sorted(
        read_source("tfds:tabmwp/dev1k").items, key=lambda item: item.id
    )
    assert free.question == "How much is it? (Unit: $)"
    assert (free.answer, free.level, free.kind) == ("4.20", "6", "free_text")
    assert choice.question == "How much is it?\nA. surplus\nB. shortage"
    assert choice.answer == "(B) shortage"


def test_the_table_is_kept_and_pictures_come_as_their_files_bytes(manual, forms):
    write_tabmwp(manual("tabmwp"), {"7": TABMWP}, {"7": forms.encode(7)})
    (row,) = list(open_tfds("tfds:tabmwp/dev1k"))
    assert row["table"] == b"almonds | $6.00"
    assert row["image"] == forms.encode(7)
    assert "tensorflow" not in sys.modules


def test_official_files_are_asked_for_and_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    folder = tmp_path / "downloads" / "manual" / "mathvision"
    with pytest.raises(InputError, match=f"official files in {folder}, got no such .*"):
        read_source("tfds:mathvision/test")
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("")
    with pytest.raises(InputError, match=r"expected one of data/test\.jsonl, "):
        read_source("tfds:mathvision/test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": None}, "testmini.jsonl:1: answer: expected a non-empty string or"),
        ({"options": "A"}, "testmini.jsonl:1: choices: expected a list of non-empty"),
        ({"level": []}, r"testmini.jsonl:1: level: expected .* got \[\]"),
    ],
)
def test_a_bad_official_row_is_named_and_nothing_is_built(
    manual, forms, change, message, tmp_path
):
    row = MATHVISION | change
    write_mathvision(manual("mathvision"), [row], [forms.encode(1)])
    with pytest.raises(InputError, match=message):
        read_source("tfds:mathvision/testmini")
    assert not list((tmp_path / "tfds").glob("mathvision/*/1.0.0"))
    assert not list((tmp_path / "tfds").glob("mathvision/1.0.0"))


def test_a_missing_official_picture_is_named(manual, forms):
    folder = manual("mathvision")
    write_mathvision(folder, [MATHVISION], [forms.encode(1)])
    (folder / "images" / "4.jpg").unlink()
    with pytest.raises(InputError, match=r"image: expected a file, got no '.*4\.jpg'"):
        read_source("tfds:mathvision/testmini")


def by_id(items, rename=str):
    """What an item says, without its id and path."""
    return {rename(item.id): (item.question, item.answer, item.level) for item in items}


@needs_shared
def test_real_rows_of_mathvision_say_the_same_through_the_builder(manual):
    rows = read_rows("mathvision")
    official = [
        row
        | {"id": row["id"].removeprefix("mathvision_"), "options": row["choices"]}
        | {"image": row["source_image"]}
        for row in rows
    ]
    folder = manual("mathvision")
    pictures = [(SHARED / "mathvision" / row["image"]).read_bytes() for row in rows]
    write_mathvision(folder, official, pictures)
    built = by_id(read_source("tfds:mathvision/testmini").items, "mathvision_{}".format)
    assert built == by_id(read_source(SHARED / "mathvision").items)
    assert len(built) == 300


@needs_shared
def test_real_rows_of_dynamath_say_the_same_through_the_builder(manual):
    rows, pictures = {}, {}
    for row in read_rows("dynamath"):
        key, variant = row["seed_question"], row["variant"]
        row["image"], path = row["source_image"], SHARED / "dynamath" / row["image"]
        rows.setdefault(variant, {})[key] = row
        pictures[key, variant] = path.read_bytes()
    write_dynamath(manual("dynamath"), rows, pictures)
    built = {}
    for variant in rows:
        items = read_source(f"tfds:dynamath/variant{variant}").items
        built |= by_id(items, "dynamath_{}".format)
    assert built == by_id(read_source(SHARED / "dynamath").items)
    assert len(built) == 287


@needs_shared
def test_real_rows_of_tabmwp_say_the_same_through_the_builder_but_for_units(manual):
    rows = {row["id"].removeprefix("tabmwp_"): row for row in read_rows("tabmwp")}
    pictures = {
        key: (SHARED / "tabmwp" / row["image"]).read_bytes()
        for key, row in rows.items()
    }
    official = {
        key: row | {"table": row["table_text"], "ques_type": row["question_type"]}
        for key, row in rows.items()
    }
    write_tabmwp(manual("tabmwp"), official, pictures)
    built = by_id(read_source("tfds:tabmwp/dev1k").items, "tabmwp_{}".format)
    expected = by_id(read_source(SHARED / "tabmwp").items)
    for key, row in rows.items():
        question, answer, level = expected[f"tabmwp_{key}"]
        if row["unit"]:
            assert not row["choices"]
            expected[f"tabmwp_{key}"] = (
                f"{question} (Unit: {row['unit']})",
                answer,
                level,
            )
    assert built == expected
    assert len(built) == 300


def read_rows(name):
    lines = (SHARED / name / "items.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
