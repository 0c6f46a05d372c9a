"""The small measurements beside the engine compare ways that give the same."""

import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from sophia_jax.generation.logits import keep_top_p

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module", autouse=True)
def scripts_on_the_path():
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))


def test_the_sort_keeps_what_the_halving_keeps():
    sampling = importlib.import_module("bench_sampling")
    logits = 3 * jax.random.normal(jax.random.key(0), (64, 100))
    for p in (0.1, 0.5, 0.8, 0.99):
        expected = np.isfinite(sampling.sorted_top_p(logits, p))
        np.testing.assert_array_equal(np.isfinite(keep_top_p(logits, p)), expected)


def test_running_samples_are_met_on_their_way():
    suffixes = importlib.import_module("bench_suffixes")
    lengths = suffixes.lengths_now(np.random.default_rng(0), 4000)
    assert lengths.min() >= 1
    assert lengths.max() <= 384
    # E[L^2] / 2 E[L] of a lognormal: 96 exp(1.5 * 0.49) / 2 = 100; the cap takes some.
    assert 80 < lengths.mean() < 102


def test_both_suffixes_have_room_for_all_tokens():
    suffixes = importlib.import_module("bench_suffixes")
    lengths = np.array([1, 16, 17, 40])
    _, room = suffixes.paged(lengths, 16, 1)
    # An open page each, three filled ones, and the first of each side by side.
    assert room == (4 + (0 + 0 + 1 + 2) + 4 * 1) * 16
    _, room = suffixes.buffered(lengths, 16, 1)
    assert room == 4 * 48
