"""Tiles become patches, and patches image tokens, in InternVL's order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from transformers import InternVLModel

from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
from sophia_jax.models.internvl import InternVL
from sophia_jax.models.vision import fold_patches, pixel_shuffle


def test_pixel_shuffle_of_four_by_four_patches():
    # Patch r * 4 + c is one number; each token is its 2 x 2 square, row by row:
    #    0  1 |  2  3
    #    4  5 |  6  7
    #   ------+------
    #    8  9 | 10 11
    #   12 13 | 14 15
    patches = jnp.arange(16.0).reshape(1, 16, 1)
    squares = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    np.testing.assert_array_equal(pixel_shuffle(patches, 2), [squares])


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_pixel_shuffle_equals_that_of_transformers(factor):
    patches = np.random.default_rng(0).normal(size=(2, 64, 5)).astype(np.float32)
    # The method uses nothing of the model that it belongs to.
    theirs = InternVLModel.pixel_shuffle(
        None, torch.tensor(patches.reshape(2, 8, 8, 5)), scale_factor=1 / factor
    )
    ours = pixel_shuffle(jnp.asarray(patches), factor)
    np.testing.assert_array_equal(ours, theirs.reshape(ours.shape).numpy())


def test_fold_patches_reads_row_column_channel():
    # A 4 x 4 picture whose pixel is 10 row + column, channels +0 and +100.
    rows, columns = np.mgrid[:4, :4]
    pixels = np.stack([10 * rows + columns, 10 * rows + columns + 100], axis=-1)
    folded = fold_patches(jnp.asarray(pixels[None], jnp.float32), 2)
    assert folded.shape == (1, 4, 8)
    np.testing.assert_array_equal(folded[0, 1], [2, 102, 3, 103, 12, 112, 13, 113])


def test_folded_patches_times_a_matrix_are_a_convolution():
    random = np.random.default_rng(0)
    tiles = random.normal(size=(2, 6, 6, 3)).astype(np.float32)
    kernel = random.normal(size=(5, 3, 2, 2)).astype(np.float32)  # [out, in, row, col]
    theirs = torch.nn.functional.conv2d(
        torch.tensor(tiles).permute(0, 3, 1, 2), torch.tensor(kernel), stride=2
    )
    matrix = kernel.transpose(2, 3, 1, 0).reshape(12, 5)
    ours = fold_patches(jnp.asarray(tiles), 2) @ matrix
    np.testing.assert_allclose(
        ours, theirs.flatten(2).transpose(1, 2).numpy(), atol=1e-5
    )


@pytest.fixture(scope="module")
def model(key):
    text = TextConfig(20, 16, 1, 2, 1, 8, 16, 32)
    vision = VisionConfig(16, 1, 2, 16, image_size=8, patch_size=2)
    return InternVL(ModelConfig(text, vision, image_token_id=3), rngs=nnx.Rngs(key))


def test_every_pixel_reaches_every_image_token_of_its_tile_alone(model):
    tiles = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))

    def first_token(tiles):
        features = model.encode_images(tiles)
        return jnp.sum(features[0, 0] * jnp.arange(16.0))

    gradient = np.abs(jax.jit(jax.grad(first_token))(tiles))
    assert (gradient[0] > 0).all()
    assert (gradient[1] == 0).all()


def test_image_features_take_the_placeholders_place(model):
    # Two tiles of 4 tokens; the second row shows tokens 1 and 0 of tile 1.
    features = jnp.arange(2 * 4 * 16.0).reshape(2, 4, 16)
    token_ids = jnp.asarray([[5, 3, 6], [3, 3, 7]])
    image_index = jnp.asarray([[-1, 2, -1], [5, 4, -1]])
    embeds = model.embed(token_ids, features, image_index)
    text = model.decoder.embedding(token_ids)
    np.testing.assert_array_equal(embeds[0, 1], features[0, 2])
    np.testing.assert_array_equal(embeds[1, 0], features[1, 1])
    np.testing.assert_array_equal(embeds[1, 1], features[1, 0])
    np.testing.assert_array_equal(embeds[:, 2], text[:, 2])
    np.testing.assert_array_equal(embeds[0, 0], text[0, 0])
