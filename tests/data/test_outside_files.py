"""Real question files that are too large to ship, where SOPHIA_SHARED says they are."""

import os
from pathlib import Path

import pytest

from sophia_jax.data.items import read_items

MATHVISION = Path(os.environ.get("SOPHIA_SHARED", "/")) / "data" / "mathvision"

pytestmark = pytest.mark.skipif(
    not MATHVISION.is_dir(),
    reason="needs the MATH-Vision subset: set SOPHIA_SHARED to the folder of its data",
)


def test_every_row_of_a_real_benchmark_is_read():
    """300 rows, all with their pictures; choices are part of the question."""
    file = read_items(MATHVISION / "items.jsonl")
    assert len(file.items) == 300
    assert file.skipped == ()
    juice = next(item for item in file.items if item.id == "mathvision_138")
    assert juice.answer == "2"
    assert juice.question.endswith("How many Euros does one juice cost?")
    hidden = next(item for item in file.items if item.id == "mathvision_1429")
    assert hidden.question.endswith("E. 5,7 and 8")
