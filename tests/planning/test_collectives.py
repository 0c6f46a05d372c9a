"""Counted traffic: by hand, and against the collectives that XLA puts into programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sophia_jax.planning.collectives import (
    MeshShape,
    all_gather,
    all_reduce,
    lane_traffic,
    tower_traffic,
    update_traffic,
)
from sophia_jax.presets import MODELS

POLICY = MODELS["internvl3-38b"]
UPDATE = {"tokens": 8192, "micro_batches": 1, "remat": "block", "learnt_share": 1.0}


def test_what_chips_receive_to_gather_and_to_sum():
    assert all_gather(800, 4) == 600  # three quarters of it
    assert all_reduce(800, 4) == 1200  # summed in parts, then gathered
    assert all_gather(800, 1) == 0


def test_one_chip_receives_nothing():
    traffic = update_traffic(POLICY, MeshShape(), **UPDATE)
    assert (traffic.ici_bytes, traffic.dcn_bytes) == (0, 0)
    assert lane_traffic(POLICY.text, 10, 1, head=True) == 0
    assert tower_traffic(POLICY, 1) == 0


def test_weights_are_gathered_once_forward_and_once_backward_and_summed_once():
    # 64 layers of 487.6e6 numbers and two of 776.6e6, less the share that is one's own:
    # twice in 2 bytes, once in 4.
    mesh = MeshShape(fsdp=64)
    numbers = 64 * 487_587_840 + 2 * 5120 * 151674
    got = update_traffic(POLICY, mesh, **UPDATE).ici_bytes
    assert got == pytest.approx(numbers * 8 * 63 / 64)
    thrice = update_traffic(POLICY, mesh, **UPDATE | {"micro_batches": 3}).ici_bytes
    assert thrice == pytest.approx(3 * got)


def test_slices_send_each_other_gradients_alone():
    within = update_traffic(POLICY, MeshShape(fsdp=64), **UPDATE)
    both = update_traffic(POLICY, MeshShape(data=2, fsdp=64), **UPDATE, num_slices=2)
    assert both.ici_bytes == pytest.approx(within.ici_bytes)
    # A sum of two: each receives as many bytes as it has of the gradient.
    numbers = 64 * 487_587_840 + 2 * 5120 * 151674
    assert both.dcn_bytes == pytest.approx(numbers * 4 / 64)


def test_a_mesh_of_no_chips_is_refused():
    with pytest.raises(ValueError, match="tensor: expected >= 1, got 0"):
        MeshShape(tensor=0)
    assert str(MeshShape(fsdp=16, context=4)) == "fsdp 16 x context 4"


@pytest.fixture(scope="module")
def measured():
    """Bytes received by a device in programs that XLA compiled for eight."""
    script = Path(__file__).with_name("collectives_of_programs.py")
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["fsdp", "data fsdp", "tensor", "context", "lane"])
def test_counted_traffic_is_that_of_the_compiled_program(name, measured):
    # The small model is float32 where bfloat16 is counted, and XLA on a CPU sums whole
    # gradients where a share would do: a factor of 2 at most.
    counted, found = measured[name]
    assert counted / 2 < found < counted * 2
