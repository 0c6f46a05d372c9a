"""The data set is right and reproducible, and nothing held out is trained on."""

import io
import itertools
import re
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from sophia_jax.data.arithmetic import KINDS
from sophia_jax.data.datasets import handwriting
from sophia_jax.data.datasets.handwriting import (
    CONSTANT_SHARE,
    Handwriting,
    HandwritingConfig,
    constant_answers,
    perception_rows,
    question_rows,
)
from sophia_jax.data.digits import split_scans
from sophia_jax.data.prompts import DIGITS
from sophia_jax.recipes.handwriting import text_questions, worked_text

SMALL = HandwritingConfig(name="small", perception=300, train=60, held_out=60, seed=3)
SIZES = {"perception": 300, "train": 60, "held_out": 60}
ANSWERS = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: abs(a - b),
    "digit_sum": lambda *numbers: sum(map(int, "".join(map(str, numbers)))),
    "product": lambda a, b: int(str(a * b)[-2:]),
    "two_step": lambda a, b, c: a + b - c,
}
QUESTION_WORDS = {
    "sum": "the sum of the numbers",
    "difference": "larger number minus the smaller",
    "digit_sum": "the sum of all digits",
    "product": "last two digits of the product",
    "two_step": "first number plus the second minus the third",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Rows of the small data set, as they are read back, by split."""
    builder = Handwriting(
        data_dir=tmp_path_factory.mktemp("tfds"),
        config=SMALL,
        file_format="array_record",
    )
    builder.download_and_prepare()
    return {
        split: [plain(row) for row in builder.as_data_source(split)] for split in SIZES
    }


@pytest.fixture(scope="module")
def full():
    """Questions of the default sizes, as they are made."""
    config = HandwritingConfig(name="default")
    return {
        split: [row for _, row in question_rows(config, held_out=split == "held_out")]
        for split in ("train", "held_out")
    }


def plain(row):
    return {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in row.items()
    }


def numbers_of(row):
    return tuple(int(number) for number in row["numbers"])


def tuples(numbers):
    """Every set of two or more of the numbers, without order."""
    sizes = range(2, len(numbers) + 1)
    return {
        tuple(sorted(subset))
        for size in sizes
        for subset in itertools.combinations(numbers, size)
    }


def test_splits_have_their_sizes_and_ids_are_unique(small):
    assert {split: len(rows) for split, rows in small.items()} == SIZES
    ids = [row["id"] for rows in small.values() for row in rows]
    assert len(set(ids)) == sum(SIZES.values())
    assert all(row["id"].startswith(split) for split in SIZES for row in small[split])


def test_default_sizes_are_those_of_the_quickstart(full):
    config = HandwritingConfig(name="default")
    assert len(full["train"]) == config.train
    assert len(full["held_out"]) == config.held_out >= 500
    for rows in full.values():
        counts = Counter(row["kind"] for row in rows)
        assert set(counts) == set(KINDS)
        assert len(set(counts.values())) == 1


def test_no_held_out_scan_is_ever_trained_on(small, full):
    held_out = set(np.concatenate(split_scans().held_out))
    for row in [*small["perception"], *small["train"], *full["train"]]:
        assert held_out.isdisjoint(row["scans"])
    for row in [*small["held_out"], *full["held_out"]]:
        assert held_out.issuperset(row["scans"])


def test_no_held_out_set_of_numbers_is_ever_trained_on(small, full):
    asked = [*small["held_out"], *full["held_out"]]
    held_out = {tuple(sorted(numbers_of(row))) for row in asked}
    assert len(held_out) > 500
    for row in [*small["perception"], *small["train"], *full["train"]]:
        assert held_out.isdisjoint(tuples(numbers_of(row)))


def test_no_reasoner_text_holds_a_held_out_set(full):
    held_out = {tuple(sorted(numbers_of(row))) for row in full["held_out"]}
    asked = [(item.question, "") for item in text_questions(DIGITS, 0, 4000)]
    worked = [worked_text(DIGITS, 0, index) for index in range(4000)]
    for prompt, solution in asked + worked:
        *rows, question = prompt.split("\n")
        assert question in {kind.question for kind in KINDS.values()}
        assert held_out.isdisjoint(tuples([int(row) for row in rows]))
        for line in solution.split("</think>")[0].split("\n"):
            # All that is reckoned with in a line, its result not counted.
            shown = re.findall(r"\d+", line.partition("=")[0])
            assert held_out.isdisjoint(tuples([int(n) for n in shown])), solution


def test_what_is_shown_matches_what_is_said(small, full):
    digit_of = {
        int(scan): digit
        for side in (split_scans().training, split_scans().held_out)
        for digit, scans in enumerate(side)
        for scan in scans
    }
    for row in itertools.chain(*small.values(), *full.values()):
        numbers = numbers_of(row)
        assert row["caption"] == "\n".join(map(str, numbers))
        shown = "".join(str(digit_of[int(scan)]) for scan in row["scans"])
        assert shown == "".join(map(str, numbers))


def test_questions_have_the_right_answers(small, full):
    for row in [*small["train"], *small["held_out"], *full["train"], *full["held_out"]]:
        assert QUESTION_WORDS[row["kind"]] in row["question"]
        assert row["answer"] == str(ANSWERS[row["kind"]](*numbers_of(row)))
        assert int(row["answer"]) >= 0


def test_perception_rows_ask_to_read_and_never_to_calculate(small):
    kinds = Counter(row["kind"] for row in small["perception"])
    # 75 % of 300 are captions: 225, with a standard deviation of 7.5.
    assert abs(kinds["caption"] - 225) < 30
    assert kinds["perception"] == 300 - kinds["caption"]
    # 25 % hold a single digit, to begin with: 75, and again 7.5.
    single = sum(len(numbers_of(row)) == 1 for row in small["perception"])
    assert abs(single - 75) < 30
    reasoning = {kind.question for kind in KINDS.values()}
    for row in small["perception"]:
        assert row["question"] not in reasoning
        if row["kind"] == "caption":
            assert row["question"] == DIGITS.caption
            assert row["answer"] == row["caption"]
        else:
            assert re.fullmatch(r"\\boxed\{(\d+|first|second|third)\}", row["answer"])


def test_no_question_is_asked_twice(full):
    for rows in full.values():
        asked = [(row["kind"], *numbers_of(row)) for row in rows]
        assert len(set(asked)) == len(asked)


def test_no_constant_answer_is_right_for_more_than_six_percent_of_a_kind(full):
    assert CONSTANT_SHARE == 0.06
    for rows in full.values():
        pairs = [(row["kind"], row["answer"]) for row in rows]
        best = constant_answers(pairs)
        assert set(best) == set(KINDS)
        for kind, constant in best.items():
            answers = [answer for name, answer in pairs if name == kind]
            most = max(answers.count(answer) for answer in answers)
            assert constant["share"] == most / len(answers) <= 0.06
            assert answers.count(constant["answer"]) == most


def test_best_constant_answer_by_hand():
    rows = [("sum", "3"), ("sum", "4"), ("sum", "3"), ("product", "0")]
    assert constant_answers(rows) == {
        "sum": {"answer": "3", "share": 2 / 3},
        "product": {"answer": "0", "share": 1.0},
    }


def made(config):
    """Everything that a configuration makes, pictures as bytes."""
    generated = itertools.chain(
        perception_rows(config),
        question_rows(config, held_out=False),
        question_rows(config, held_out=True),
    )
    return [
        {
            name: value.getvalue() if isinstance(value, io.BytesIO) else np.array(value)
            for name, value in row.items()
        }
        for _, row in generated
    ]


def test_same_seed_makes_the_same_rows_and_another_one_does_not():
    sizes = {"perception": 20, "train": 10, "held_out": 10}
    first, again, other = (
        made(HandwritingConfig(name=str(seed), seed=seed, **sizes))
        for seed in (0, 0, 1)
    )
    np.testing.assert_equal(first, again)
    assert sum(a["image"] == b["image"] for a, b in zip(first, other, strict=True)) == 0


def test_pictures_decode_to_what_was_composed(small, monkeypatch):
    composed = []

    def compose(*args, **kwargs):
        composed.append(handwriting_compose(*args, **kwargs))
        return composed[-1]

    handwriting_compose = handwriting.compose_picture
    monkeypatch.setattr(handwriting, "compose_picture", compose)
    keys = [key for key, _ in question_rows(SMALL, held_out=True)]
    keys += [key for key, _ in perception_rows(SMALL)]
    pictures = dict(zip(keys, composed, strict=True))
    for row in [*small["held_out"], *small["perception"]]:
        picture, used = pictures[row["id"]]
        np.testing.assert_array_equal(row["image"], np.asarray(picture))
        np.testing.assert_array_equal(row["scans"], used)


def test_pictures_are_kept_as_png_bytes():
    _, row = next(question_rows(SMALL, held_out=True))
    with Image.open(row["image"]) as picture:
        assert picture.format == "PNG"
        assert picture.size == (84, 84)


def test_data_set_is_made_and_read_without_tensorflow(small):
    assert small
    assert "tensorflow" not in sys.modules
