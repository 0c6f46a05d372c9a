"""Models small enough to compile in seconds."""

import os

import jax
import pytest

from sophia_jax.config import ModelConfig, TextConfig, VisionConfig


@pytest.fixture(scope="session")
def small():
    """Matrices large beside everything else, so that products are most of the work."""
    text = TextConfig(
        vocab_size=1024,
        hidden_size=256,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=64,
        mlp_size=512,
        max_length=2048,
    )
    vision = VisionConfig(
        hidden_size=256, num_layers=1, num_heads=4, mlp_size=512, image_size=56
    )
    return ModelConfig(text, vision, image_token_id=1000)


@pytest.fixture(scope="module", autouse=True)
def usual_optimizations():
    """Chips are given the programs that they are given outside of tests."""
    name = "jax_disable_most_optimizations"
    jax.config.update(name, False)
    yield
    jax.config.update(name, os.environ.get(name.upper()) == "True")
