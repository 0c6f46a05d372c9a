"""A question of a rollout at a glance, whatever a model wrote."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from sophia_jax.types import Item
from sophia_jax.viz.notebooks import KEPT, PALETTE, RIGHT, question_figure, set_style

OUTCOMES = (("right", "wrong", "unfinished"), ("right", "right", "wrong"))
CAPTIONS = ({"text": "12 $\\frac{\n34"}, {"text": "x" * 200})


@pytest.fixture
def item(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (4, 4), "white").save(path)
    return Item("q", "How many $\\x$?", "7", (str(path),))


def drawn(item, threshold=0.5, **selected):
    reasonings = [
        {"caption": c, "reasoning": r, "verdict": verdict}
        for c, row in enumerate(OUTCOMES)
        for r, verdict in enumerate(row)
    ]
    row = {"least_caption_rewards": [1 / 3, 2 / 3], "kept": False} | selected
    figure = question_figure(item, CAPTIONS, reasonings, row, threshold=threshold)
    content = io.BytesIO()
    figure.savefig(content, format="png")  # so that every text is set
    assert len(content.getvalue()) > 1000
    return figure


def dots(axes):
    """(place, colour of the face, whether it is full) of each mark."""
    for mark in axes.collections:
        faces = mark.get_facecolors()
        color = matplotlib.colors.to_hex(faces[0]).upper() if len(faces) else None
        yield tuple(map(int, mark.get_offsets()[0])), color


def test_dots_say_what_was_right_and_a_ring_what_was_kept(item):
    chosen = {"kept": True, "caption": 1, "reasoning": 0, "num_tokens": 5}
    figure = drawn(item, **chosen, text="3+4=7\n$ \u202eevil")
    axes = figure.axes[1]
    full = {place for place, color in dots(axes) if color == RIGHT}
    assert full == {(0, 0), (0, 1), (1, 1)}  # reasoning, caption
    edges = [matplotlib.colors.to_hex(m.get_edgecolor()[0]) for m in axes.collections]
    ring = edges.index(KEPT.lower())
    assert axes.collections[ring].get_offsets()[0].tolist() == [0, 1]
    bold = [t.get_text() for t in axes.texts if t.get_weight() == "bold"]
    assert bold == ["0.67"]  # the one above the threshold
    words = figure.get_supxlabel()
    assert "How many $\\x$?  (7)" in words
    assert "kept, 5 tokens:\n    3+4=7" in words
    assert "\u202e" not in words


def test_a_reward_at_the_threshold_is_not_above_it_in_single_precision(item):
    rewards = np.array([0.6, 0.8], np.float32).tolist()  # the first as 0.6000000238
    row = {"least_caption_rewards": rewards, "reason": "no right answer"}
    texts = drawn(item, threshold=0.6, **row).axes[1].texts
    assert [t.get_text() for t in texts if t.get_weight() == "bold"] == ["0.80"]


def test_what_was_dropped_says_why(item):
    figure = drawn(item, reason="no right answer")
    assert figure.get_supxlabel().endswith("nothing kept: no right answer")


def test_captions_are_one_line_that_is_cut(item):
    figure = drawn(item, reason="no right answer")
    first, second = (t.get_text() for t in figure.axes[1].get_yticklabels())
    assert first == "12 $\\frac{ 34"
    assert second == "x" * 43 + "…"


def test_the_style_is_set_for_all_figures():
    with matplotlib.rc_context():
        set_style()
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
        assert tuple(cycle) == PALETTE
