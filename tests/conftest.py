"""What every test runs under: CPU unless told otherwise, and no silent broadcasting."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

CACHE = Path(__file__).parent.parent / ".cache" / "jax"

if os.environ["JAX_PLATFORMS"] == "cpu":
    jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def key():
    """A random key."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from sophia_jax.models.tokenizer import train_tokenizer

    return train_tokenizer(["Read the picture: 12 + 34 = 46, 7 - 5 = 2."] * 3, 280)


@pytest.fixture(scope="session")
def text_model(tiny_tokenizer):
    """A decoder of two layers that ends an answer after about seven tokens."""
    return make_tiny_model(tiny_tokenizer, with_vision=False)


@pytest.fixture(scope="session")
def vision_model(tiny_tokenizer):
    """A vision-language model with that decoder, and tiles of four image tokens."""
    return make_tiny_model(tiny_tokenizer, with_vision=True)


def make_tiny_model(tokenizer, *, with_vision):
    from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
    from sophia_jax.models.internvl import init_params, model_graph
    from sophia_jax.models.model import Model
    from sophia_jax.tiles import TileGeometry

    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        mlp_size=48,
        max_length=256,
    )
    config, tiles = ModelConfig(text=text), None
    if with_vision:
        vision = VisionConfig(32, 2, 4, 48, image_size=28, patch_size=7)
        placeholder = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
        config = ModelConfig(text=text, vision=vision, image_token_id=placeholder)
        tiles = TileGeometry(28, max_tiles=4, mean=(0.5,) * 3, std=(0.3,) * 3)
    params = jax.jit(init_params, static_argnums=1)(jax.random.key(1), config)
    # An embedding that is the same for all tokens serves the head as a bias.
    decoder = params["decoder"]
    embedding, head = decoder["embedding"]["embedding"], decoder["lm_head"]["kernel"]
    decoder["embedding"]["embedding"] = embedding.at[:, 0].set(4.0)
    end_bias = jax.nn.one_hot(tokenizer.eos_token_id, len(tokenizer)) * 1.3
    decoder["lm_head"]["kernel"] = head.at[0].set(end_bias)
    return Model(config, model_graph(config), params, tokenizer, tiles)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Each module leaves no compiled programs: the memory maps of all would not fit."""
    yield
    jax.clear_caches()
