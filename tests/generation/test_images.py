"""Image features: the right ones, and each computed once."""

import dataclasses
from pathlib import Path

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
    for encode in (encode_images, lambda model, paths: ImageEncoder(model)([paths])):
        with pytest.raises(ValueError, match="a vision tower, got a text-only"):
            encode(text_model, [pictures["one"]])


def test_a_missing_file_is_named(vision_model, tmp_path):
    with pytest.raises(InputError, match=r"absent\.png"):
        encode_images(vision_model, [str(tmp_path / "absent.png")])


def test_pictures_are_read_ahead_but_not_all_at_once(monkeypatch, vision_model):
    """At most one in each thread and one that waits, before the tower takes any."""
    monkeypatch.setattr(images, "READERS", 2)
    cut, begun, most = images._cut, [], []

    def watched(*picture):
        begun.append(picture)
        return cut(*picture)

    monkeypatch.setattr(images, "_cut", watched)
    pictures = [(Image.new("RGB", (28, 28)), vision_model.tiles)] * 20
    for taken, _ in enumerate(images._cut_ahead(pictures)):
        most.append(len(begun) - taken)
    assert len(most) == 20
    assert max(most) <= 3


def test_the_first_damaged_picture_is_named(vision_model, pictures, tmp_path):
    whole = Path(pictures["wide"]).read_bytes()
    paths = [pictures["one"]] * 3
    for name in ("first.png", "second.png"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        paths.append(str(tmp_path / name))
    with pytest.raises(InputError, match=r"first\.png' \(.*truncated"):
        encode_images(vision_model, paths)


@pytest.fixture
def encoded(monkeypatch):
    """Which pictures are encoded, call by call, those without any left out."""
    calls, encode = [], images._encode

    def spy(model, pictures):
        if pictures:
            calls.append([path for path, _ in pictures])
        return encode(model, pictures)

    monkeypatch.setattr(images, "_encode", spy)
    return calls


def test_a_picture_is_encoded_once(vision_model, pictures, encoded):
    encoder = ImageEncoder(vision_model)
    one, wide = pictures["one"], pictures["wide"]
    [[first], [second, third]] = encoder([[one], [wide, one]])
    [[again], none] = encoder([[wide], []])
    assert encoded == [[one, wide]]
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(second, again)
    assert none == []
    assert encoder([]) == []


def test_pictures_of_one_sample_share_its_tiles(vision_model, pictures, encoded):
    # 64 // 32 = 2 tiles each: the wide picture keeps its two, 64 // 33 = 1 tile each.
    wide = pictures["wide"]
    encoder = ImageEncoder(vision_model)
    [alone, pair, many] = encoder([[wide], [wide] * 32, [wide] * 33])
    assert [len(features) for features in alone + pair[:1] + many[:1]] == [3, 3, 1]
    assert (len(pair), len(many)) == (32, 33)
    # By 4, 2 and 1 tiles at most: other tiles are other features, the same are not.
    assert encoded == [[wide] * 3]


def test_the_pictures_used_longest_ago_are_forgotten(vision_model, pictures, encoded):
    # A tile is 4 tokens of 32 floats, 512 bytes: there is room for two of one tile.
    encoder = ImageEncoder(vision_model, max_bytes=1024)
    one, another, wide = ([pictures[name]] for name in ("one", "another", "wide"))
    encoder([one, another])
    encoder([one])
    assert len(encoder([one, another, wide])) == 3  # the wide one alone is too large
    assert encoded == [[*one, *another], [*wide]]
    encoder([wide])
    encoder([one, another])
    assert encoded[2:] == [[*wide], [*one, *another]]


def test_encoding_follows_the_weights(vision_model, pictures):
    zeros = jax.tree.map(jnp.zeros_like, vision_model.params["projector"])
    params = vision_model.params | {"projector": zeros}
    other = dataclasses.replace(vision_model, params=params)
    [features] = encode_images(other, [pictures["one"]])
    assert not np.any(features)
