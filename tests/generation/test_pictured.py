"""Examples are the same whether pictures are encoded together or in their turn."""

import numpy as np
import pytest
from PIL import Image

from sophia_jax.data.images import count_tiles
from sophia_jax.data.packing import Example
from sophia_jax.generation import pictured
from sophia_jax.generation.images import encode_images
from sophia_jax.generation.pictured import PicturedExamples


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Pictures of one tile, and of several."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, size in enumerate([(28, 28), (84, 28), (56, 56)]):
        picture = Image.new("RGB", size, (80 * number, 255, 30))
        picture.save(folder / f"{number}.png")
        paths.append((str(folder / f"{number}.png"),))
    return [*paths, ()]


@pytest.fixture(scope="module")
def plain(vision_model, images):
    """Examples with as many placeholders as their pictures need."""
    config = vision_model.config

    def example(number, paths):
        tiles = sum(count_tiles(vision_model.tiles, paths))
        image = np.full(tiles * config.tokens_per_tile, config.image_token_id)
        return Example(np.concatenate([image, [10] * (number + 1)]), np.array([11, 12]))

    return [example(number, paths) for number, paths in enumerate(images)]


@pytest.mark.parametrize(("most_bytes", "later"), [(2**30, False), (0, True)])
def test_pictures_are_encoded_at_once_or_in_turn(
    vision_model, plain, images, monkeypatch, most_bytes, later
):
    monkeypatch.setattr(pictured, "MOST_BYTES", most_bytes)
    examples = PicturedExamples(vision_model, plain, images)
    assert (len(examples), examples.encodes_later) == (4, later)
    assert examples.longest == max(example.length for example in plain)
    for example, paths in zip(examples, images, strict=True):
        if not paths:
            assert example.images is None
            continue
        [features] = encode_images(vision_model, paths)
        np.testing.assert_allclose(example.images, features, atol=1e-6)
        assert np.sum(example.prompt_ids == vision_model.config.image_token_id) == (
            features.shape[0] * features.shape[1]
        )


def test_some_of_them_are_those_one_by_one(vision_model, plain, images):
    examples = PicturedExamples(vision_model, plain, images)
    some = examples[1:]
    assert len(some) == 3
    for number, example in enumerate(some, 1):
        np.testing.assert_array_equal(example.prompt_ids, plain[number].prompt_ids)
        assert (example.images is None) == (not images[number])
