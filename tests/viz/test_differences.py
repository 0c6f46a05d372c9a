"""What a caption says and what the picture holds, word by word."""

import pytest

from sophia_jax.viz.differences import MOST_WORDS, agrees, word_differences


@pytest.mark.parametrize(
    ("said", "held", "pieces"),
    [
        ("7\n38", "7 38", [("same", "7\n38")]),
        ("", "", []),
        ("a red cube", "a cube", [("same", "a "), ("said", "red "), ("same", "cube")]),
        ("a cube", "a big cube", [("same", "a "), ("held", "big "), ("same", "cube")]),
        ("12", "21", [("said", "12"), ("held", "21")]),
        ("x.", "x", [("same", "x"), ("said", ".")]),
        ("", "all", [("held", "all")]),
    ],
)
def test_words_that_differ_are_marked(said, held, pieces):
    assert word_differences(said, held) == tuple(pieces)


def test_spacing_alone_is_no_difference():
    assert agrees(word_differences(" 7\n\n38 ", "7 38"))
    assert not agrees(word_differences("738", "7 38"))


def test_both_texts_can_be_read_back():
    said, held = "the cat sat on a mat", "a cat lay on the red mat"
    pieces = word_differences(said, held)
    assert "".join(t for kind, t in pieces if kind != "held") == said
    words = "".join(t if t.endswith(" ") else f"{t} " for k, t in pieces if k != "said")
    assert words.split() == held.split()


def test_texts_too_long_to_compare_are_not_compared():
    assert word_differences("x " * MOST_WORDS, "x") is not None
    assert word_differences("x " * (MOST_WORDS + 1), "x") is None
