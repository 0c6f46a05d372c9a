"""Which option an answer means, however the data set says it."""

import pytest

from sophia_jax.data.choices import choice_answer, inline_options, option_lines
from sophia_jax.types import InputError

LENGTHS = ["9 cm", "12 cm", "15 cm"]


@pytest.mark.parametrize(
    "answer", ["B", "(B)", "B.", "12 cm", " 12  cm ", "12 CM", "(B) 12 cm", "B. 12 cm"]
)
def test_letter_value_or_both_become_both(answer):
    assert choice_answer(answer, LENGTHS) == "(B) 12 cm"


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["", "", ""], "B"),
        (["A", "B", "C"], "B"),
        (["red", "", "blue"], "B"),
        (["yes", "no", "no"], "B"),
    ],
)
def test_an_option_without_a_text_of_its_own_is_its_letter(options, answer):
    assert choice_answer(answer, options) == "B"


@pytest.mark.parametrize(
    ("answer", "options", "note"),
    [
        ("D", LENGTHS, ""),
        ("12", LENGTHS, ""),
        ("(B) 9 cm", LENGTHS, ""),
        ("b", ["x", "y"], ""),
        ("A", ["B", "A", "C"], r" \(fits A and B\)"),
        ("no", ["yes", "no", "no"], r" \(fits B and C\)"),
    ],
)
def test_an_answer_that_is_no_option_or_two_is_refused(answer, options, note):
    with pytest.raises(InputError, match=f"answer: expected a letter of A to .*{note}"):
        choice_answer(answer, options)


def test_a_letter_among_letters_in_another_order_may_mean_two_options():
    # "C" is the third letter, and what the third option says.
    assert choice_answer("C", ["B", "A", "C"]) == "C"


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Is it so? choice: (A) Yes (B) No", ["Yes", "No"]),
        ("Choose:(A) 2, (B) x(1), (C) 0", ["2", "x(1)", "0"]),
        ("Is (A) above (B)? Choices: (A) yes (B) no", ["yes", "no"]),
        ("Which is (A)?", []),
        ("From (B) to (A) it is far.", []),
        ("How many?", []),
    ],
)
def test_options_within_the_question(question, options):
    assert inline_options(question) == options


def test_options_become_lines_unless_they_are_drawn():
    assert option_lines(LENGTHS) == ["A. 9 cm", "B. 12 cm", "C. 15 cm"]
    assert option_lines(["", "B"]) == option_lines([]) == []
