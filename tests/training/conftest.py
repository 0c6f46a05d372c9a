"""Random examples for the tiny models."""

import numpy as np
import pytest

from sophia_jax.data.packing import Example


@pytest.fixture(scope="session")
def text_examples():
    """A dozen, each with its own reward, by which it is known."""
    rng = np.random.default_rng(0)
    return [
        Example(
            rng.integers(9, 250, 5).astype(np.int32),
            rng.integers(9, 250, 3 + number % 5).astype(np.int32),
            reward=(number + 1) / 16,
        )
        for number in range(12)
    ]


@pytest.fixture(scope="session")
def picture_examples(vision_model):
    """Four of one tile each, with pixels; the third has no reward."""
    rng = np.random.default_rng(1)
    examples = []
    for reward in (1.0, 0.5, 0.0, 1.0):
        prompt_ids = rng.integers(9, 250, 9).astype(np.int32)
        prompt_ids[2:6] = vision_model.config.image_token_id
        target_ids = rng.integers(9, 250, rng.integers(2, 7)).astype(np.int32)
        images = rng.normal(size=(1, 28, 28, 3)).astype(np.float32)
        examples.append(Example(prompt_ids, target_ids, images, reward))
    return examples
