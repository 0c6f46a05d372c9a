"""What LaTeX says apart from how it looks."""

import pytest

from sophia_jax.rewards.latex import plain, right_side, unwrapped


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" $12$. ", "12"),
        (r"\text{Light blue}", "Light blue"),
        (r"\text{a} + \text{b}", r"\text{a} + \text{b}"),
        ("12", "12"),
        ("", ""),
    ],
)
def test_what_surrounds_an_answer_goes(text, expected):
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"12\text{cm}", "12 cm"),
        (r"12~\mathrm{cm}^2", "12 cm ^2"),
        (r"$30^{\circ}$", "30°"),
        (r"30^\circ C", "30° C"),
        (r"\(50\%\)", "50%"),
        (r"16,\!386{,}000", "16,386,000"),
        (r"1\quad 2\;3", "1 2 3"),
        ("**12**.", "12"),
        ("2**3", "2**3"),
        ("12*", "12*"),
        (r"1 \\ 2", r"1 \\ 2"),  # the rows of a matrix
    ],
)
def test_looks_go_and_meaning_stays(text, expected):
    assert unwrapped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 5", " 5"),
        ("$AB=5$", "5$"),
        (r"\angle A = 30", " 30"),
        ("2x = 5", "2x = 5"),
        ("x = 5 = y", "x = 5 = y"),
        ("5", "5"),
    ],
)
def test_only_a_name_goes_from_in_front(text, expected):
    assert right_side(text) == expected
