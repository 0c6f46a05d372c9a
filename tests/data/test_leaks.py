"""The same picture or question is found however it was changed, and no other one."""

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sophia_jax.data import leaks
from sophia_jax.data.leaks import picture_hash, words
from sophia_jax.data.sources import read_source
from sophia_jax.types import Item

SHARED = Path(os.environ.get("SOPHIA_SHARED", "/")) / "data"


def recompressed(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=50)
    return Image.open(file)


def leaks_of(items, benchmark):
    return leaks.find_leaks(items, {"theirs": benchmark})["theirs"]


CHANGES = {
    "recompressed": recompressed,
    "half": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "twice": lambda picture: picture.resize((picture.width * 2, picture.height * 2)),
    "square": lambda picture: picture.resize((448, 448)),
    "grey": lambda picture: picture.convert("L"),
}


@pytest.fixture
def item(tmp_path, forms):
    """Makes a question about a picture of its own, or about the one that is given."""

    def make(name, question="What is shown?", picture=None):
        path = tmp_path / f"{name}.png"
        if picture is None:
            path.write_bytes(forms.encode(zlib.crc32(name.encode()), size=(400, 300)))
        else:
            picture.save(path)
        return Item(name, f"{question} {name}", "1", (str(path),))

    return make


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found(item, change):
    benchmark = [item("other"), item("theirs"), item("third")]
    changed = CHANGES[change](Image.open(benchmark[1].images[0]))
    found = leaks_of([item("mine", picture=changed), item("own")], benchmark)
    assert list(found) == ["mine"]
    assert found["mine"].startswith(
        "picture: expected none of a benchmark's, got that of row theirs (correlation "
    )


def test_one_of_several_pictures_is_enough(item):
    theirs = item("theirs")
    both = Item("both", "Which?", "1", item("own").images + theirs.images)
    assert "picture" in leaks_of([both], [theirs])["both"]


def test_pictures_of_one_colour_are_not_all_the_same(item):
    blank = [item(c, picture=Image.new("RGB", (90, 60), c)) for c in ("red", "white")]
    assert picture_hash(Image.new("L", (90, 60), 200)) is None
    assert leaks_of(blank[:1], blank[1:]) == {}


def test_the_hash_tells_which_of_the_lowest_frequencies_are_strong():
    """A wave of one frequency along one axis raises this coefficient alone."""
    x = np.arange(32)
    wave = 128 + 100 * np.cos(np.pi * (2 * x + 1) * 3 / 64)
    picture = Image.fromarray(np.tile(wave, (32, 1)).astype(np.uint8))
    bits = np.unpackbits(np.array([picture_hash(picture)], ">u8").view(np.uint8))
    assert bits[0] == 1  # the mean
    assert bits[3] == 1


QUESTION = (
    "A sandwich and a juice cost 12 Euros together, and a sandwich and two juices cost "
    "14 Euros together. How many Euros does one juice cost?"
)


def ask(name, question):
    return Item(name, question, "1", ())


@pytest.mark.parametrize(
    "changed",
    [
        QUESTION.upper().replace(",", " ;"),
        f"Look at the picture.\n{QUESTION}\nA. 2\nB. 3",
        QUESTION.replace("sandwich and a juice", "roll and a juice"),
    ],
)
def test_thirteen_words_of_a_question_in_a_row_are_enough(changed):
    found = leaks_of([ask("mine", changed)], [ask("theirs", QUESTION)])
    assert "row theirs" in found["mine"]


def test_other_numbers_make_another_question():
    changed = QUESTION.replace("12", "13").replace("14", "15")
    assert leaks_of([ask("mine", changed)], [ask("theirs", QUESTION)]) == {}


def test_a_short_question_must_be_the_same_as_a_whole():
    theirs = [ask("theirs", "Find the area of the blue square.")]
    assert leaks_of([ask("mine", "find the area of the blue square")], theirs) == {
        "mine": "question: expected none of a benchmark's, got that of row theirs"
    }
    assert leaks_of([ask("mine", "Find the area of the blue circle.")], theirs) == {}


def test_what_a_benchmark_says_with_each_question_is_not_a_question():
    hint = "Please answer with a whole number and give the final value at the very end."
    assert len(words(hint)) >= leaks.NGRAM
    theirs = [ask(f"t{n}", f"{hint} How much is {n} + {n}?") for n in range(11)]
    mine = [ask("mine", f"{hint} How many cats?"), ask("same", theirs[3].question)]
    assert list(leaks_of(mine, theirs)) == ["same"]
    # Of ten rows or fewer it may as well be the question, with other numbers.
    assert list(leaks_of(mine, theirs[:10])) == ["mine", "same"]


def test_a_short_question_about_another_picture_is_another_one(item):
    def about(name, picture):
        return Item(name, "Find the area.", "1", picture)

    one, two = item("one").images, item("two").images
    theirs = [about("theirs", one)]
    assert leaks_of([about("mine", two)], theirs) == {}
    assert "question" in leaks_of([about("bare", ())], theirs)["bare"]
    both = leaks_of([about("mine", one)], theirs)["mine"]
    assert "picture: " in both
    assert "question: " in both
    long = [
        Item(name, QUESTION, "1", picture)
        for name, picture in zip("ab", (one, two), strict=True)
    ]
    assert "question" in leaks_of(long[:1], long[1:])["a"]


@pytest.mark.parametrize("question", ["Find the area.", QUESTION])
def test_a_whole_question_of_many_rows_is_a_manner_of_asking(question):
    theirs = [ask(f"t{n}", question) for n in range(leaks.MOST_ROWS + 1)]
    mine = [ask("mine", question)]
    assert leaks_of(mine, theirs) == {}
    assert list(leaks_of(mine, theirs[1:])) == ["mine"]


def test_questions_without_words_are_not_the_same():
    assert words("? ...") == words("!") == []
    assert leaks_of([ask("mine", "? ...")], [ask("theirs", "!")]) == {}


def test_words_are_numbers_letters_and_signs_of_scripts_without_blanks():
    assert words("The 1,200 cats' AREA_2 is x3") == [
        *("the", "1,200", "cats", "area", "2", "is", "x", "3")
    ]
    assert words("求面积 ABC") == ["求", "面", "积", "abc"]


def test_each_of_several_benchmarks_is_named(item):
    mine, theirs = item("mine"), ask("x", "Find the area.")
    benchmarks = {"pictures": [mine], "questions": [theirs]}
    found = leaks.find_leaks([mine, ask("short", "find the area")], benchmarks)
    assert {name: list(rows) for name, rows in found.items()} == {
        "pictures": ["mine"],
        "questions": ["short"],
    }


@pytest.mark.skipif(
    not SHARED.is_dir(),
    reason="needs subsets of benchmarks: set SOPHIA_SHARED to the folder of their data",
)
def test_real_benchmarks_share_no_picture_and_one_question():
    """One DynaMath seed is a question of MATH-Vision: with its two variants here."""
    geometry, programs = (
        read_source(SHARED / name, check_pictures=False).items
        for name in ("mathvision", "dynamath")
    )
    found = leaks_of(programs, geometry)
    assert list(found) == ["dynamath_191_v1", "dynamath_191_v2"]
    assert all("row mathvision_2454 " in reason for reason in found.values())
    assert all("picture" not in reason for reason in found.values())


@pytest.mark.skipif(
    not SHARED.is_dir(),
    reason="needs subsets of benchmarks: set SOPHIA_SHARED to the folder of their data",
)
def test_real_pictures_are_found_when_made_smaller_and_not_taken_for_others(tmp_path):
    items = read_source(SHARED / "mathvision", check_pictures=False).items[:60]
    changed = []
    for item in items:
        path = tmp_path / f"{item.id}.jpg"
        with Image.open(item.images[0]) as picture:
            size = (picture.width * 2 // 3, picture.height * 2 // 3)
            picture.convert("RGB").resize(size).save(path, quality=60)
        changed.append(Item(item.id, item.id, "1", (str(path),)))
    benchmark = [Item(item.id, "?", "1", item.images) for item in items]
    found = leaks_of(changed, benchmark)
    assert len(found) >= 59
    assert all(f"of row {name} " in reason for name, reason in found.items())
