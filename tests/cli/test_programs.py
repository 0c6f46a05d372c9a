"""What a command compiled is listed, and a part of it may be traced."""

import json
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

from sophia_jax.cli.programs import Programs, traced


def test_programs_are_counted_by_function():
    programs = Programs()

    @jax.jit
    def doubled_for_this_test(x):
        return 2 * x

    before = programs.summary()["number"]
    for size in (3, 5, 3):
        doubled_for_this_test(jnp.ones(size)).block_until_ready()
    found = programs.summary()
    mine = [
        value
        for name, value in found["by_function"].items()
        if "doubled_for_this_test" in name
    ]
    assert [value["number"] for value in mine] == [2]
    assert found["number"] >= before + 2
    assert found["seconds"] >= mine[0]["seconds"] > 0
    assert f"programs   {found['number']}, " in programs.line()
    json.dumps(found)


TRACED = """
import sys, time
from pathlib import Path
import jax.numpy as jnp
from sophia_jax.cli.programs import traced

with traced(Path(sys.argv[1]), after_seconds=0.0, seconds=0.2):
    for _ in range(5):
        jnp.ones(4).sum().block_until_ready()
        time.sleep(0.1)
"""


def test_a_trace_begins_late_and_ends_by_itself(tmp_path):
    # By itself: the profiler fails where a test before it has loaded TPU's compiler.
    folder = tmp_path / "profile"
    subprocess.run([sys.executable, "-c", TRACED, folder], check=True)
    assert list(folder.rglob("*.xplane.pb"))


def test_a_run_that_is_over_before_its_trace_begins_leaves_none(tmp_path):
    start = time.perf_counter()
    with traced(tmp_path / "profile", after_seconds=60.0, seconds=5.0):
        pass
    assert time.perf_counter() - start < 10
    assert not (tmp_path / "profile").exists()


def test_no_seconds_no_trace(tmp_path):
    with traced(tmp_path / "profile", after_seconds=0.0, seconds=0.0):
        jnp.ones(3).sum().block_until_ready()
    assert not (tmp_path / "profile").exists()
