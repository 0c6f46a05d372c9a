"""A mesh computes what one device does; weights move between layouts unchanged."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from sophia_jax.models.folder import save_model
from sophia_jax.models.internvl import init_params, model_graph

PROGRAM = Path(__file__).parent / "eight_devices.py"


def internlm(model):
    """A model like that one, of the kinds of InternLM2 and of the larger tower."""
    vision = dataclasses.replace(
        model.config.vision, norm="rms_norm", qkv_bias=False, qk_norm=True
    )
    text = dataclasses.replace(model.config.text, qkv_bias=False)
    config = dataclasses.replace(model.config, text=text, vision=vision)
    params = jax.jit(init_params, static_argnums=1)(jax.random.key(3), config)
    decoder = model.params["decoder"]
    params["decoder"] |= {part: decoder[part] for part in ("embedding", "lm_head")}
    return dataclasses.replace(
        model, config=config, graphdef=model_graph(config), params=params
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory, vision_model):
    """What the program found; it runs once, since it compiles for long."""
    folder = tmp_path_factory.mktemp("models")
    models = {"qwen": vision_model, "internlm": internlm(vision_model)}
    for name, model in models.items():
        save_model(model, folder / name)
    Image.new("RGB", (56, 28), (255, 120, 30)).save(folder / "picture.png")
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [
            sys.executable,
            PROGRAM,
            folder / "picture.png",
            *map(folder.joinpath, models),
        ],
        env=os.environ
        | {
            "XLA_FLAGS": flags,
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_COMPILATION_CACHE": "false",  # it warns when it compiles
        },
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
    assert len(found["samples"]) == 2
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
        assert moved == {
            "equal": True,
            "no second copy": True,
            "given up": True,
            "placed": True,
        }


def test_arrays_move_in_chunks_that_need_not_divide_them(found):
    assert found["chunks"] == {"equal": True, "uneven": True, "placed": True}
