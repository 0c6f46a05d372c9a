"""Published models: as many parameters as their weights have."""

import json
import math

import jax
import pytest

from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.original_config import original_config
from sophia_jax.presets import MODELS


def num_params(config):
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("internvl2.5-8b", "InternVL2_5-8B"),
        ("internvl3-8b", "InternVL3-8B"),
        ("internvl3-38b", "InternVL3-38B (derived)"),
        ("internvl2.5-38b", "InternVL3-38B (derived)"),
    ],
)
def test_a_preset_has_as_many_parameters_as_the_published_weights(
    name, published, shared
):
    shapes = json.loads((shared / "hf" / "weight_shapes.json").read_text())[published]
    assert num_params(MODELS[name]) == sum(map(math.prod, shapes.values()))


def test_the_reasoner_has_the_parameters_that_its_sizes_give():
    # Per layer: query and out 2 * 5120², key and value 2 * 5120 * 1024, MLP
    # 3 * 5120 * 27648, biases 5120 + 2 * 1024, norms 2 * 5120; 64 of them, then
    # embedding, head and norm: 32.8 billion, as published.
    layer = 2 * 5120**2 + 2 * 5120 * 1024 + 3 * 5120 * 27648 + 7168 + 2 * 5120
    assert num_params(MODELS["qwq-32b"]) == 64 * layer + 2 * 152064 * 5120 + 5120


class Vocabulary:
    def get_vocab(self):
        return {"<IMG_CONTEXT>": 151667}


def test_a_preset_is_what_the_published_configuration_says(shared):
    file = shared / "hf" / "InternVL3-8B" / "config.json"
    found = original_config(json.loads(file.read_text()), str(file), Vocabulary())
    assert found == MODELS["internvl3-8b"]
