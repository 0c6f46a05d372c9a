"""Options, and the letters that responses give."""

import pytest

from sophia_jax.rewards.choices import Option, given_letter, read_option


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
        ("K", None),
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
        "12 cm",
        "",
    ],
)
def test_other_texts_give_no_letter(prediction):
    assert given_letter(prediction) is None
