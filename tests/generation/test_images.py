"""Image features: the right ones, and each computed once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from sophia_jax.data.images import load_image, tile_image
from sophia_jax.generation import images
from sophia_jax.generation.images import TILES_PER_CALL, ImageEncoder, encode_images
from sophia_jax.types import InputError


def test_features_are_those_of_the_tower_for_each_picture(vision_model, pictures):
    paths = [pictures[name] for name in ("one", "wide", "another")]
    features = encode_images(vision_model, paths)
    assert [f.shape for f in features] == [(1, 4, 32), (3, 4, 32), (1, 4, 32)]
    module = nnx.merge(vision_model.graphdef, vision_model.params)
    for path, encoded in zip(paths, features, strict=True):
        tiles = tile_image(load_image(path), vision_model.tiles)
        np.testing.assert_allclose(encoded, module.encode_images(tiles), atol=1e-5)


def test_pictures_may_be_given_open(vision_model, pictures):
    opened = Image.open(pictures["wide"])
    from_file, from_memory = encode_images(vision_model, [pictures["wide"], opened])
    np.testing.assert_array_equal(from_file, from_memory)


def test_more_tiles_than_a_call_takes_keep_their_order(vision_model, pictures):
    # 14 wide pictures of 3 tiles: the 11th lies across the end of the first call.
    assert 10 * 3 < TILES_PER_CALL < 11 * 3
    paths = [pictures["wide"]] * 14 + [pictures["one"]]
    features = encode_images(vision_model, paths)
    [wide, one] = encode_images(vision_model, [pictures["wide"], pictures["one"]])
    assert len(features) == 15
    for encoded in features[:14]:
        np.testing.assert_allclose(encoded, wide, atol=1e-6)
    np.testing.assert_allclose(features[14], one, atol=1e-6)


def test_features_do_not_depend_on_other_pictures(vision_model, pictures):
    [alone] = encode_images(vision_model, [pictures["one"]])
    beside = encode_images(vision_model, [pictures["wide"], pictures["one"]])[1]
    np.testing.assert_array_equal(alone, beside)


def test_no_pictures_have_no_features(vision_model):
    assert encode_images(vision_model, []) == []


def test_a_text_only_model_encodes_no_pictures(text_model, pictures):
    with pytest.raises(ValueError, match="expected a vision tower, got a text-only"):
        encode_images(text_model, [pictures["one"]])


def test_a_missing_file_is_named(vision_model, tmp_path):
    with pytest.raises(InputError, match=r"absent\.png"):
        encode_images(vision_model, [str(tmp_path / "absent.png")])


@pytest.fixture
def encoded(monkeypatch):
    """Which pictures are encoded, call by call."""
    calls = []

    def spy(model, paths):
        calls.append(list(paths))
        return encode_images(model, paths)

    monkeypatch.setattr(images, "encode_images", spy)
    return calls


def test_a_picture_is_encoded_once(vision_model, pictures, encoded):
    encoder = ImageEncoder(vision_model)
    one, wide = pictures["one"], pictures["wide"]
    first = encoder([one, wide, one])
    again = encoder([wide, one])
    assert encoded == [[one, wide]]
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[1], again[0])
    assert encoder([]) == []


def test_the_pictures_used_longest_ago_are_forgotten(vision_model, pictures, encoded):
    # A tile is 4 tokens of 32 floats, 512 bytes: there is room for two of one tile.
    encoder = ImageEncoder(vision_model, max_bytes=1024)
    one, another, wide = (pictures[name] for name in ("one", "another", "wide"))
    encoder([one, another])
    encoder([one])
    assert len(encoder([one, another, wide])) == 3  # the wide one alone is too large
    assert encoded == [[one, another], [wide]]
    encoder([wide])
    encoder([one, another])
    assert encoded[2:] == [[wide], [one, another]]


def test_encoding_follows_the_weights(vision_model, pictures):
    zeros = jax.tree.map(jnp.zeros_like, vision_model.params["projector"])
    params = vision_model.params | {"projector": zeros}
    other = dataclasses.replace(vision_model, params=params)
    [features] = encode_images(other, [pictures["one"]])
    assert not np.any(features)
