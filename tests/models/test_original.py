"""Folders of the code that InternVL was published with: names, values, both ways."""

import dataclasses
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from sophia_jax.config import RopeScaling
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.hf_config import config_from_hf
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.original_config import original_config
from sophia_jax.models.safetensors import TensorHeader
from sophia_jax.models.tokenizer import IMAGE_CONTEXT
from sophia_jax.models.weight_table import weight_table
from sophia_jax.models.weights import file_names, mismatches

ORIGINALS = ("internlm2", "qwen2", "internvit_6b")
SHARED = os.environ.get("SOPHIA_SHARED")
# Configurations of the published models, the image placeholders of their tokenizers,
# how many tensors they have, and the bytes that these fill.
RECONSTRUCTED = "config_reconstructed.json"
MODELS = {
    "InternVL3-8B": ("InternVL3-8B/config.json", 151667, 685, 15_888_747_520),
    "InternVL2_5-8B": (f"InternVL2_5-8B/{RECONSTRUCTED}", 92546, 573, 16_150_730_752),
    "InternVL3-38B (derived)": (
        f"InternVL3-38B/{RECONSTRUCTED}",
        151667,
        1366,
        2 * 38_388_164_992,
    ),
}


class Vocabulary(dict):
    def get_vocab(self):
        return self


@pytest.mark.skipif(SHARED is None, reason="SOPHIA_SHARED: published configs wanted")
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_of_a_published_model_is_known_with_its_shape(name):
    file, placeholder, count, total = MODELS[name]
    folder = Path(SHARED) / "hf"
    shapes = json.loads((folder / "weight_shapes.json").read_text())[name]
    headers = {
        tensor: TensorHeader(Path("model"), tuple(shape), "BF16")
        for tensor, shape in shapes.items()
    }
    tokenizer = Vocabulary({IMAGE_CONTEXT: placeholder})
    config = original_config(json.loads((folder / file).read_text()), file, tokenizer)

    assert len(headers) == count
    assert mismatches(config, headers, "original") == []
    sizes = [leaf.size for leaf in jax.tree.leaves(abstract_params(config))]
    assert 2 * sum(sizes) == total
    # Padded to be shared out, it still is the file's model.
    text = dataclasses.replace(config.text, vocab_multiple=1024)
    padded = dataclasses.replace(config, text=text)
    assert mismatches(padded, headers, "original") == []
    rows = abstract_params(padded)["decoder"]["embedding"]["embedding"].shape[0]
    assert rows % 1024 == 0 and 0 <= rows - config.text.vocab_size < 1024


@pytest.mark.skipif(SHARED is None, reason="SOPHIA_SHARED: published configs wanted")
def test_the_published_reasoner_is_read():
    file = Path(SHARED) / "hf" / "Qwen2.5-32B" / "config.json"
    text = config_from_hf(json.loads(file.read_text()), str(file)).text
    assert (text.num_layers, text.num_kv_heads, text.norm_eps) == (64, 8, 1e-5)
    assert (text.vocab_size, text.max_length) == (152064, 131072)


@pytest.mark.parametrize("variant", ORIGINALS)
def test_import_and_export_are_bit_equal(variant, folders, tmp_path):
    folder = folders[variant]
    model = load_model(folder, vocab_multiple=64)
    assert model.params["decoder"]["embedding"]["embedding"].shape[0] == 320
    save_model(model, tmp_path / "saved", layout="original")
    first, second = (
        load_file(place / "model.safetensors") for place in (folder, tmp_path / "saved")
    )
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name])
    again = load_model(tmp_path / "saved")
    assert again.config == load_model(folder).config
    assert again.tiles == model.tiles
    assert again.tokenizer.chat_template == model.tokenizer.chat_template
    values = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert values["template"] == "internvl2_5"
    assert again.config.text.rope_scaling == RopeScaling("dynamic", 8.0, 8)


@pytest.mark.parametrize("variant", ORIGINALS)
def test_the_table_holds_every_parameter_once(variant, folders):
    config = load_model(folders[variant]).config
    paths = [p for weight in weight_table(config, "original") for p in weight.paths]
    leaves, _ = jax.tree_util.tree_flatten_with_path(abstract_params(config))
    ours = sorted(".".join(key.key for key in path) for path, _ in leaves)
    assert sorted(paths) == ours
    assert file_names(config, {"mlp1.0.weight": None}, "original") == {
        "mlp1.0.weight": "mlp1.0.weight"
    }


def test_a_chat_template_without_a_name_stays_the_tokenizers_own(folders, tmp_path):
    model = load_model(folders["layer_norm"])
    save_model(model, tmp_path / "saved", layout="original")
    assert load_model(tmp_path / "saved").tokenizer.chat_template == (
        model.tokenizer.chat_template
    )


def test_what_the_original_layout_cannot_say_is_refused(folders, tmp_path):
    model = load_model(folders["qwen3"])
    with pytest.raises(ValueError, match="qk_norm: expected False in the original"):
        save_model(model, tmp_path / "saved", layout="original")


def test_a_tokenizer_without_the_placeholder_is_refused():
    values = {"model_type": "internvl_chat", "ps_version": "v2", "select_layer": -1}
    with pytest.raises(ValueError, match=r"config.json: tokenizer: expected <IMG_CON"):
        original_config(values, "config.json", Vocabulary({}))
