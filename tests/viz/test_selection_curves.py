"""Accuracy against k, as a figure."""

import re

import numpy as np
import pytest

from sophia_jax.evaluation.judged import Selection
from sophia_jax.evaluation.predictions import PREDICTIONS, write_predictions
from sophia_jax.evaluation.summary import summarize
from sophia_jax.recipes.judge_forecast import forecast_run
from sophia_jax.types import InputError
from sophia_jax.viz.selection_curves import accuracy_by_k


def make_rows(num_questions=12, num_samples=4, scored=True):
    random = np.random.default_rng(0)
    texts = {field.name: "" for field in PREDICTIONS}
    for question in range(num_questions):
        for sample in range(num_samples):
            right = bool(random.random() < 0.5)
            yield texts | {
                "question_id": f"q{question}",
                "sample": sample,
                "answer": "1",
                "extracted": str(int(right)),
                "verdict": "right" if right else "wrong",
                "caption": None,
                "caption_right": None,
                "num_tokens": 1,
                "finish_reason": "stop",
                "score": float(random.integers(5) + right) if scored else None,
            }


def test_each_way_to_choose_is_a_line():
    selection = Selection(("best-of-k", "reward-weighted"), (0.5, 2.0))
    rows = list(make_rows())
    summary = summarize(rows, pass_k=(1, 2, 4), selection=selection)
    svg = accuracy_by_k(summary)
    for way in ("pass", "majority", "best-of-k", "reward-weighted T=0.5"):
        assert f">{way}</text>" in svg
    best = 100 * summary["best-of-k@4"]
    assert f"best-of-k {best:.1f} %" in re.search(r'aria-label="([^"]*)"', svg)[1]
    assert accuracy_by_k(summarize(rows, pass_k=(1,))) == ""


def test_a_run_s_forecast_is_that_of_its_table(tmp_path):
    write_predictions(tmp_path / "predictions.parquet", [list(make_rows())])
    options = {"temperatures": (1.0,), "num_resamples": 2}
    found = forecast_run(tmp_path, **options)
    assert found["curves"][0]["k"] == [1, 2, 4]
    assert found["num_questions"] == [6, 6]
    with pytest.raises(InputError, match=r"parquet: k: expected in \[1, num_samples=4"):
        forecast_run(tmp_path, ks=(9,), **options)
    write_predictions(tmp_path / "predictions.parquet", [list(make_rows(scored=False))])
    with pytest.raises(InputError, match="expected the scores of a judge, got none"):
        forecast_run(tmp_path)
    write_predictions(tmp_path / "predictions.parquet", [list(make_rows(3))])
    with pytest.raises(InputError, match="expected at least 8 questions, got 3"):
        forecast_run(tmp_path)
