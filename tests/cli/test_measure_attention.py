"""The measurement of attention runs on rows that are full of several segments."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("measure_attention")
    del sys.modules["measure_attention"]


def test_rows_are_full_of_segments_that_stand_in_order(script):
    ids = script.segments(3, 200)
    assert ids.min() == 1
    assert np.all(np.diff(ids, axis=1) >= 0)
    lengths = np.concatenate([np.bincount(row)[1:-1] for row in ids])
    assert 30 < np.median(lengths) < 80  # a quarter of a row is 50


def test_each_form_is_timed(script):
    options = script.Measurement(tokens=64, blocks=(8, 16), repetitions=1)
    found = script.measure(32, options)
    assert len(found) == 3
    assert min(found) > 0
