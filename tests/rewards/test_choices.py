"""Options, and the letters that responses give."""

import pytest

from sophia_jax.rewards.choices import Option, given_letter, is_undecided, read_option


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("B", Option("B", None)),
        ("(B)", Option("B", None)),
        ("J", Option("J", None)),
        ("(B) 12 cm", Option("B", "12 cm")),
        ("(B) $12$", Option("B", "$12$")),
        ("(B) B", Option("B", None)),  # drawn options have their letters for values
        ("(D) D)", Option("D", None)),
        (r"(A) $\text{A}$", Option("A", None)),
        ("(B) A", Option("B", "A")),
        ("(K) 12 cm", Option("K", "12 cm")),
        ("(Z) Z", Option("Z", None)),
        ("K", None),  # without a value it may be a variable
        ("(K)", None),
        ("b", None),
        ("(1, 2)", None),
        ("12 cm", None),
        ("AB", None),
    ],
)
def test_a_right_answer_may_be_an_option(answer, option):
    assert read_option(answer) == option


@pytest.mark.parametrize(
    "prediction",
    [
        "B",
        "(B)",
        "(b)",
        "B.",
        "B)",
        "B) 12 cm",
        "B. 12 cm",
        "B: 12 cm",
        "(B)12",
        "**B**",
        r"\(B\)",
        r"\text{B}",
        r"\text{(B)}",
        r"(\text{B})",
        r"\textbf{(B) } 60^{\circ}",
        r"\textbf{(B)}\frac{3}{4}",
        r"\mathrm{(B)\ } 90",
        r"-2\textbf{ (B)}",
        "12 cm (B)",
        "option B",
        "Option (B)",
        "choice B is right",
        "B, since it is longer",
        "B because it is longer",
        "(B) none of A, C, D",
        "(B) P and R",
    ],
)
def test_a_letter_is_found_in_what_surrounds_it(prediction):
    assert given_letter(prediction) == "B"


@pytest.mark.parametrize(
    "prediction",
    [
        "b",
        "K",
        "AB",
        "B 12",
        "B = 5",
        "B'",
        "A square",
        "Both",
        "(A) or (B)",
        "A, B",
        "A and B",
        "(A), (B)",
        "A/B",
        "(A, B)",
        "A or (B)",
        "(A) or (K)",
        "either (A), (B)",
        "not (B)",
        "definitely not option (B)",
        "12 cm",
        "",
    ],
)
def test_other_texts_give_no_letter(prediction):
    assert given_letter(prediction) is None


@pytest.mark.parametrize("prediction", ["K", "(K)", "K.", "K) 12 cm", "12 cm (K)"])
def test_letters_beyond_j_are_read_where_options_go_so_far(prediction):
    assert given_letter(prediction) is None
    assert given_letter(prediction, last="Z") == "K"
    assert given_letter("(K) or (L)", last="Z") is None


@pytest.mark.parametrize(
    ("before", "undecided"),
    [
        ("It is (A) or (", True),
        ("It could be A or ", True),
        ("torn between A and ", True),
        ("Either (A), (", True),
        ("It cannot be ", True),
        ("It isn't the ", True),
        ("It is A rather than ", True),
        ("Since it is not A, it is ", False),
        ("The one that does not fit is ", False),
        ("Of A and B, the longer is (", False),
        ("", False),
    ],
)
def test_what_precedes_a_letter_may_leave_it_open(before, undecided):
    assert is_undecided(before) == undecided
