"""A mesh computes what one device does; weights move between layouts unchanged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sophia_jax.models.folder import save_model

PROGRAM = Path(__file__).parent / "eight_devices.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory, vision_model, text_model):
    """What the program found; it runs once, since it compiles for long."""
    folder = tmp_path_factory.mktemp("models")
    for name, model in (("vision", vision_model), ("text", text_model)):
        save_model(model, folder / name)
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, PROGRAM, folder / "vision", folder / "text"],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rematerialization" not in done.stderr  # a tensor that was replicated
    return json.loads(done.stdout.splitlines()[-1])


def test_an_update_on_a_mesh_is_that_of_one_device(found):
    assert len(found["updates"]) == 4
    for update in found["updates"]:
        alone, mesh = update["metrics"]
        for name in ("loss", "mean_log_prob", "gradient_norm", "tokens"):
            assert mesh[name] == pytest.approx(alone[name], rel=1e-5), update["case"]
        assert update["gradient"] < 1e-5, update["case"]
        assert update["weights"] < 2e-4 < update["moved"], update["case"]


def test_the_new_state_lies_where_the_old_one_did(found):
    assert all(update["kept"] for update in found["updates"])


def test_lanes_of_a_mesh_say_what_one_device_says(found):
    for alone, *meshes in found["samples"].values():
        assert len(alone) == 18
        for said in meshes:
            assert said.keys() == alone.keys()
            for sample, (token_ids, log_probs) in said.items():
                assert token_ids == alone[sample][0]
                np.testing.assert_allclose(log_probs, alone[sample][1], atol=2e-5)


def test_weights_move_between_layouts_and_devices_unchanged(found):
    assert len(found["moves"]) == 3
    for moved in found["moves"]:
        assert moved == {"equal": True, "given up": True, "placed": True}


def test_arrays_move_in_chunks_that_need_not_divide_them(found):
    assert found["chunks"] == {"equal": True, "uneven": True, "placed": True}
