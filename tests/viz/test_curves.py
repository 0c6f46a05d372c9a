"""Figures show what they are given, in the page's colours."""

import math
import re

import numpy as np
import pytest

from sophia_jax.viz.curves import (
    MAX_KINDS,
    accuracy_bars,
    length_histogram,
    metric_curve,
    reward_histogram,
)
from sophia_jax.viz.summary import Score


def score(pass_at_1, kinds=()):
    by_kind = {kind: score(pass_at_1) for kind in kinds}
    return Score(pass_at_1, 10, (0.1, 0.9), None, None, by_kind)


def curve(values):
    rows = [{"step": step, "loss": value} for step, value in enumerate(values)]
    return metric_curve(rows, "loss", label="loss, nats", phase="base")


def bars(svg, color):
    """Filled paths of one colour."""
    return re.findall(rf'style="fill: var\(--{color}\)"', svg)


@pytest.mark.parametrize(
    "svg",
    [
        curve([]),
        curve([None, math.nan, math.inf]),
        accuracy_bars({}),
        reward_histogram(np.array([]), 0, None),
        length_histogram(np.array([], int), np.array([], int)),
    ],
)
def test_nothing_to_draw_draws_nothing(svg):
    assert svg == ""


def test_a_missing_value_leaves_a_gap():
    def moves(svg):
        line = re.search(r'<path d="([^"]+)"[^>]*stroke: var\(--sophia\)', svg)[1]
        return line.count("M ")

    assert moves(curve([3.0, 2.0, 1.5, 1.0, 0.5])) == 1
    assert moves(curve([3.0, 2.0, math.nan, 1.0, 0.5])) == 2
    assert moves(curve([3.0, 2.0, None, 1.0, 0.5])) == 2


def test_colors_are_those_of_the_page_and_nothing_tells_the_day():
    svg = curve([1.0, 2.0]) + accuracy_bars({"base": score(0.5)})
    assert not re.search(r"#0[1-4]0[1-4]0[1-4]", svg)
    assert "var(--ink)" in svg
    assert "<metadata" not in svg
    assert "<style" not in svg


def test_the_same_figure_has_the_same_ids_and_another_one_has_others():
    def ids(svg):
        return set(re.findall(r' id="([^"]+)"', svg))

    one, other = curve([1.0, 2.0]), curve([1.0, 3.0])
    assert ids(one)
    assert curve([1.0, 2.0]) == one
    assert not ids(one) & ids(other)


def test_each_model_has_a_bar_for_all_questions_and_for_each_kind_it_was_asked():
    scores = {"base": score(0.2, ["sum"]), "sophia": score(0.7, ["sum", "product"])}
    svg = accuracy_bars(scores)
    assert len(bars(svg, "base")) == 2
    assert len(bars(svg, "sophia")) == 3
    assert "base 20.0 %, sophia 70.0 %" in svg


def test_kinds_are_text_and_neither_markup_nor_maths():
    kinds = ["</text><script>", "$\\frac{", "\x00漢字", "k" * 1000]
    svg = accuracy_bars({"base": score(0.2, kinds)})
    assert "<script>" not in svg
    assert "$\\frac{" in svg
    assert "␀漢字" in svg
    assert "k" * 25 not in svg


def test_the_description_is_an_attribute_whatever_is_in_it():
    rows = [{"step": 0, "loss": 1.0}]
    svg = metric_curve(rows, "loss", label='"><b>', phase="base")
    assert "&quot;&gt;&lt;b&gt;" in svg
    assert "<b>" not in svg


def test_of_very_many_kinds_the_figure_shows_some():
    svg = accuracy_bars({"base": score(0.2, [f"kind {i}" for i in range(500)])})
    assert len(bars(svg, "base")) == 1 + MAX_KINDS


def test_rewards_above_the_threshold_have_the_other_color():
    # Rewards 0, 1/4, ..., 1 of 4 reasonings; only 1 is above 3/4.
    rewards = np.array([0.0, 0.75, 1.0, 1.0])
    svg = reward_histogram(rewards, 4, 0.75)
    assert (len(bars(svg, "base")), len(bars(svg, "sophia"))) == (4, 1)
    assert "threshold 0.75" in svg
    assert "threshold" not in reward_histogram(rewards, 4, None)


def test_lengths_of_one_and_of_none_kept_can_be_drawn():
    svg = length_histogram(np.array([5]), np.array([], int))
    assert "all right 5 tokens" in svg
    assert "kept 7 tokens" in length_histogram(np.array([5, 9]), np.array([7]))
