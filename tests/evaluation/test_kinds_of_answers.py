"""What kind an answer is of, and which answers are one."""

import itertools

import pytest

from sophia_jax.evaluation.answers import answer_type, number_answers


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (
            ("B", "(B)", "(B) 12 cm", "$B$", "(A) A\nB", "J.", r"\text{C}", "(K) 4"),
            "choice",
        ),
        (("7", "-12", "+3", "1,200", "$42$", "7.", "\N{MINUS SIGN}5"), "integer"),
        (("12.5", ".5", "-0.25", "1,200.75", r"\text{3.0}"), "decimal"),
        (("3/4", "-1 / 2", r"\frac{3}{4}", r"\dfrac12", r"-\frac{-1}{20}"), "fraction"),
        (("Yes", "red and blue", "No.", "don't", "Größe", r"\text{even}"), "text"),
        (("12 cm", "50%", "x", "K", r"3\sqrt{2}", "(1, 2)", "2x+1", ""), "expression"),
        (("1,20", "1/2/3", "1.2.3", "(K)", "AB 12"), "expression"),
    ],
)
def test_kinds(answers, kind):
    assert {answer: answer_type(answer) for answer in answers} == dict.fromkeys(
        answers, kind
    )


def test_equal_answers_have_one_number():
    answers = [
        "1/2",
        "0.5",
        ".50",
        "2",
        "2.0",
        "Yes",
        " yes",
        "B",
        "(B)",
        None,
        "x",
        "X",
    ]
    assert number_answers(answers) == [0, 0, 0, 1, 1, 2, 2, 3, 3, None, 4, 5]


def test_what_needs_algebra_stays_apart():
    assert number_answers(["1/2", "50%", r"\sin 30^\circ"]) == [0, 1, 2]


def test_the_letters_of_choices_decide():
    options = ["(B) 12 cm", "B. 12 cm", "B) 12 cm", "(b)", "12 cm (B)", "C) 12 cm"]
    assert number_answers([*options, "(K) 4", "K. 4", "L. 4"]) == [
        *[0, 0, 0, 0, 0, 1],
        *[2, 2, 3],
    ]


def test_classes_do_not_depend_on_the_order():
    answers = ["(B) 12 cm", "B", "(B) 12", "12", "12.0", "C", None]

    def classes(order):
        numbers = number_answers([answers[index] for index in order])
        return {
            frozenset(i for i, n in zip(order, numbers, strict=True) if n == number)
            for number in set(numbers)
        }

    expected = classes(range(len(answers)))
    for order in itertools.permutations(range(len(answers))):
        assert classes(order) == expected
    assert frozenset({3, 4}) in expected


def test_no_answers_have_no_numbers():
    assert number_answers([]) == []
    assert number_answers([None, None]) == [None, None]
