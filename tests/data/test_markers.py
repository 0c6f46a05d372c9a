"""Markers leave the text, and of several pictures they tell which."""

import pytest

from sophia_jax.data.markers import resolve_markers
from sophia_jax.types import InputError


@pytest.mark.parametrize("marker", ["<image>", "<image1>", "<image 1>", "<image 2>"])
def test_one_picture_needs_no_marker(marker):
    assert resolve_markers([f"Look at {marker} well.\n{marker}"], 1) == [
        "Look at well."
    ]


def test_several_pictures_keep_their_order_and_are_told_apart():
    texts = ["<image 1>\n<image 2>\nWhich of <image 2> and <image 1>?", "<image 3>"]
    assert resolve_markers(texts, 3) == [
        "Which of (picture 2) and (picture 1)?",
        "(picture 3)",
    ]


def test_markers_without_a_number_count_through_question_and_options():
    texts = ["<image>\nWhich fits?", "<image>", "a <image>"]
    assert resolve_markers(texts, 3) == ["Which fits?", "(picture 2)", "a (picture 3)"]


@pytest.mark.parametrize(
    "text", ["<image 3> is", "<image 0> is", "<image><image>\n<image>"]
)
def test_a_marker_of_a_picture_that_is_not_there_is_refused(text):
    with pytest.raises(InputError, match="question: expected markers of 2 pictures"):
        resolve_markers([text], 2)
