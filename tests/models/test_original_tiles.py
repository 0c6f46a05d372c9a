"""The original config.json, not the preprocessor's, says how pictures are cut."""

import json

import pytest

from sophia_jax.models.original_tiles import tiles_from_internvl_config
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CONFIG = {
    "force_image_size": 448,
    "dynamic_image_size": True,
    "min_dynamic_patch": 2,
    "max_dynamic_patch": 9,
    "use_thumbnail": True,
    "pad2square": False,
    "vision_config": {"image_size": 224},
}


def test_every_field_is_read():
    assert tiles_from_internvl_config(CONFIG, "config.json") == TileGeometry(
        448, min_tiles=2, max_tiles=9, use_thumbnail=True, **IMAGENET
    )


@pytest.mark.parametrize("name", ["InternVL3-8B", "InternVL2-2B"])
def test_published_models_cut_into_1_to_12_tiles_and_a_thumbnail(shared, name):
    file = shared / "hf" / name / "config.json"
    assert tiles_from_internvl_config(
        json.loads(file.read_text()), str(file)
    ) == TileGeometry(448, max_tiles=12, use_thumbnail=True, **IMAGENET)


def test_absent_fields_have_the_defaults_of_the_original_code():
    # InternVLChatConfig: no dynamic size, no thumbnail, and 1 to 6 tiles with one.
    bare = {"vision_config": {"image_size": 224}}
    assert tiles_from_internvl_config(bare, "c") == TileGeometry(
        224, max_tiles=1, use_thumbnail=False, **IMAGENET
    )
    dynamic = bare | {"dynamic_image_size": True, "force_image_size": None}
    assert tiles_from_internvl_config(dynamic, "c") == TileGeometry(
        224, max_tiles=6, use_thumbnail=False, **IMAGENET
    )


def test_without_dynamic_size_there_is_one_tile():
    fixed = tiles_from_internvl_config(CONFIG | {"dynamic_image_size": False}, "c")
    assert (fixed.min_tiles, fixed.max_tiles) == (1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pad2square": True}, "pad2square: expected False, got True"),
        ({"force_image_size": "448"}, "force_image_size: expected a square"),
        ({"force_image_size": None, "vision_config": 3}, "vision_config: expected an"),
        ({"dynamic_image_size": 1}, "dynamic_image_size: expected true or false"),
        ({"max_dynamic_patch": 12.0}, "max_dynamic_patch: expected a whole number"),
        ({"max_dynamic_patch": 1}, "max_tiles: expected >= min_tiles = 2, got 1"),
        ({"min_dynamic_patch": 0}, "min_tiles: expected >= 1, got 0"),
        ({"use_thumbnail": None}, "use_thumbnail: expected true or false"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(InputError, match=f"config.json: {message}"):
        tiles_from_internvl_config(CONFIG | change, "config.json")
