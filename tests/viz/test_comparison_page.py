"""The comparison's page and figures say what the summary says."""

import json
import re

import pytest

from sophia_jax.types import InputError
from sophia_jax.viz.arm_curves import difference_figure, sweep_figure
from sophia_jax.viz.pages import write_page


def estimate(mean, low, high):
    return {"mean": mean, "interval": [low, high], "by_seed": [mean]}


def arm(score, difference=None, named=1.0):
    return {
        "sentence": "An <arm> & more.",
        "matched": True,
        "pass@1": estimate(score, score - 0.02, score + 0.02),
        "caption_accuracy": estimate(0.7, 0.6, 0.8),
        "mean_tokens": estimate(60.0, 59.0, 61.0),
        "hallucination": estimate(0.25, 0.2, 0.3),
        "names_numbers": estimate(named, named, named),
        "difference": difference,
        "learnt": [{"kept": 9, "questions": 8, "trajectories": 8}] if named else [],
    }


ARMS = {
    "base": arm(0.01, estimate(-0.5, -0.6, -0.4), named=0.0),
    "sophia": arm(0.51, estimate(0.0, 0.0, 0.0)),
    "worse": arm(0.45, estimate(-0.06, -0.08, -0.04)),
    "alike": arm(0.5, estimate(-0.01, -0.03, 0.01)),
}
SWEEPS = {
    "captions K": [{"value": 1.0, "arm": "worse"}, {"value": 8.0, "arm": "sophia"}],
    "reasonings N": [{"value": 8.0, "arm": "sophia"}],
}
CLAIM = {
    "first": "worse",
    "second": "sophia",
    "paper": [53.54, 55.13],
    "source": "table 5",
    "measure": "pass@1",
    "ours": [0.45, 0.51],
    "difference": estimate(0.06, 0.04, 0.08),
    "verdict": "agrees",
}


def test_arms_whose_interval_holds_zero_are_not_in_colour():
    svg = difference_figure(ARMS, "sophia")
    assert len(re.findall(r"fill: var\(--sophia\)|stroke: var\(--sophia\)", svg)) >= 2
    assert svg == difference_figure(ARMS, "sophia")
    alone = difference_figure({"sophia": ARMS["sophia"], "x": ARMS["alike"]}, "sophia")
    assert "var(--sophia)" not in alone
    assert "worse -6.0, alike -1.0" in svg


def test_an_arm_that_is_far_away_is_a_number_at_the_edge():
    assert "‹ -50.0" in difference_figure(ARMS, "sophia")
    del (near := dict(ARMS))["base"]
    assert "‹" not in difference_figure(near, "sophia")


def test_nothing_to_compare_draws_nothing():
    assert difference_figure({"sophia": ARMS["sophia"]}, "sophia") == ""
    assert sweep_figure({"reasonings N": SWEEPS["reasonings N"]}, ARMS) == ""


def test_axes_of_one_point_are_left_out():
    svg = sweep_figure(SWEEPS, ARMS)
    assert "captions K 1: 45.0 %, captions K 8: 51.0 %" in svg
    assert "reasonings" not in svg


@pytest.fixture
def folder(tmp_path):
    summary = {
        "size": "quick",
        "missing": "Two seeds only.",
        "seeds": [0, 1],
        "arms": ARMS,
        "sweeps": SWEEPS,
        "claims": [CLAIM],
        "claims_without_arms": ["base against grpo (table 1)"],
        "settings": {"held_out": 200, "updates": 100, "batch_size": 32},
        "machine": {"cores": 2},
        "versions": {"python": "3.11"},
        "seconds": {"data": 3.0, "total": 3.0},
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


def test_the_page_holds_the_papers_figures_beside_ours(folder):
    page = write_page(folder).read_text()
    for said in (
        "53.54 → 55.13",
        "45.0 → 51.0",
        "<strong>agrees</strong>",
        "agrees 1",
        "Two seeds only.",
        "base against grpo (table 1)",
        "An &lt;arm&gt; &amp; more.",
    ):
        assert said in page
    assert page.count("<svg role=") == 2
    assert "<script" not in page
    assert write_page(folder).read_text() == page


def test_a_damaged_summary_is_one_line(folder):
    (folder / "summary.json").write_text('{"arms": {}, "claims": [], "sweeps": {}}')
    with pytest.raises(InputError, match="expected the summary of `sophia-jax compare"):
        write_page(folder)
