"""Orbax checkpoints of models: the same model again, on the devices that are wanted."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.models.checkpoint_folder import save_checkpoint
from sophia_jax.models.folder import load_model
from sophia_jax.sharding import make_mesh
from sophia_jax.types import InputError


@pytest.fixture(scope="module")
def checkpoint(folders, tmp_path_factory):
    model = load_model(folders["rms_norm"], vocab_multiple=64)
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    save_checkpoint(model, folder)
    return folder, model


def test_a_checkpoint_is_the_same_model(checkpoint):
    folder, model = checkpoint
    again = load_model(folder)
    assert again.config == model.config
    assert again.tiles == model.tiles
    assert again.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)


def test_every_kind_of_decoder_is_described(folders, tmp_path):
    model = load_model(folders["yarn"], dtype=jnp.bfloat16)
    save_checkpoint(model, tmp_path / "model")
    again = load_model(tmp_path / "model", dtype=jnp.bfloat16)
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)


def test_weights_are_converted_and_placed_as_asked(checkpoint):
    folder, _ = checkpoint
    mesh = make_mesh(fsdp=2)
    model = load_model(folder, mesh=mesh, dtype=jnp.bfloat16)
    for leaf in jax.tree.leaves(model.params):
        assert leaf.dtype == jnp.bfloat16
        assert leaf.sharding.mesh == mesh


def test_an_existing_folder_is_left_alone(checkpoint, tmp_path):
    with pytest.raises(InputError, match="expected a folder that does not exist"):
        save_checkpoint(checkpoint[1], tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda described: described.pop("config"),
        lambda described: described["config"]["text"].update(hidden_size=-1),
        lambda described: described["config"]["text"].update(unknown=1),
    ],
)
def test_a_spoilt_description_is_refused(checkpoint, tmp_path, spoil):
    (tmp_path / "model").mkdir()
    described = json.loads((checkpoint[0] / "model.json").read_text())
    spoil(described)
    (tmp_path / "model" / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"model.json: expected a model's descr"):
        load_model(tmp_path / "model")


def test_weights_of_another_model_are_refused(checkpoint, folders, tmp_path):
    model = checkpoint[1]
    text = dataclasses.replace(model.config.text, mlp_size=64)
    other = dataclasses.replace(
        model, config=dataclasses.replace(model.config, text=text)
    )
    save_checkpoint(other, tmp_path / "model")
    rule = r"layers.down.kernel: expected \(2, 64, 32\), got \(2, 48, 32\)"
    with pytest.raises(InputError, match=rf"weights: decoder.{rule}; decoder.layers.g"):
        load_model(tmp_path / "model")
