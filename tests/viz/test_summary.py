"""What `summary.json` may say, and what it may not."""

import json

import pytest

from sophia_jax.types import InputError
from sophia_jax.viz.summary import read_summary


def read(tmp_path, summary, config=None):
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    return read_summary(tmp_path)


def base(score):
    return {"held_out": {"base": score}}


def test_a_missing_file_says_nothing(tmp_path):
    summary = read_summary(tmp_path)
    assert summary.held_out == summary.seconds == summary.settings == {}
    assert summary.rollouts is None


def test_a_given_interval_is_kept_and_a_missing_one_is_wilsons(tmp_path):
    score = {"pass@1": 0.5, "num_questions": 100}
    given = read(tmp_path, base(score | {"interval": [0.25, 0.75]}))
    assert given.held_out["base"].interval == (0.25, 0.75)
    # Worked out by hand for 50 of 100 in the tests of the interval.
    derived = read(tmp_path, base(score)).held_out["base"].interval
    assert derived == pytest.approx((0.40383154, 0.59616846), abs=1e-7)
    assert read(tmp_path, base({"pass@1": 0.5})).held_out["base"].interval is None


def test_the_share_of_caption_accuracy_is_a_quotient_or_nothing(tmp_path):
    def share(**score):
        reader = read(tmp_path, base(score)).held_out["base"]
        return reader.share_of(reader)

    assert share(**{"pass@1": 0.6, "caption_accuracy": 0.8}) == pytest.approx(0.75)
    assert share(**{"pass@1": 0.6, "caption_accuracy": 0.0}) is None
    assert share(**{"pass@1": 0.6}) is None


def test_only_the_two_models_of_a_run_are_read(tmp_path):
    scores = {name: {"pass@1": 0.5} for name in ("other", "sophia", "base")}
    assert set(read(tmp_path, {"held_out": scores}).held_out) == {"base", "sophia"}


def test_the_mean_of_nothing_is_not_known(tmp_path):
    summary = read(
        tmp_path, {"rollouts": {"kept": 0, "mean_kept_tokens": float("nan")}}
    )
    assert summary.rollouts.kept == 0
    assert summary.rollouts.mean_kept_tokens is None


def test_settings_are_named_with_dots_and_the_configuration_adds_to_them(tmp_path):
    summary = read(
        tmp_path,
        {"settings": {"sophia": {"threshold": 0.75, "seeds": [1, 2]}, "seed": 1}},
        {"data": "mine/items.jsonl", "seed": 0},
    )
    assert summary.settings == {
        "data": "mine/items.jsonl",
        "seed": "1",
        "sophia.threshold": "0.75",
        "sophia.seeds": "[1, 2]",
    }


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        (base(5), r"summary\.json\.held_out\.base: expected an object, got 5"),
        (base({"pass@1": "x"}), r"held_out\.base\.pass@1: expected a number, got 'x'"),
        (base({"pass@1": True}), r"base\.pass@1: expected a number, got True"),
        (
            base({"pass@1": 1.5}),
            r"base\.pass@1: expected a number from 0 to 1, got 1.5",
        ),
        (base({"num_questions": 1.5}), r"num_questions: expected a whole number"),
        (
            base({"interval": [0.1]}),
            r"base\.interval: expected two numbers, got \[0.1\]",
        ),
        ({"seconds": {"data": -1}}, r"seconds\.data: expected a number from 0 to inf"),
        ({"rollouts": {"dropped": {"x": []}}}, r"dropped\.x: expected a number"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(tmp_path, summary, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, summary)
