"""Published models by name, so that a run can be planned without their weights.

Sizes are those of the configurations on the Hugging Face Hub; the numbers of parameters
are compared with the shapes of the published weights in `tests/test_presets.py`.
"""

from __future__ import annotations

from types import MappingProxyType

from sophia_jax.config import ModelConfig, RopeScaling, TextConfig, VisionConfig

__all__ = ["MODELS", "MOST_TILES"]

MOST_TILES = 13  # of a picture: twelve and a thumbnail, in all InternVL2.5 and 3

# Twice the length by dynamic scaling, which changes nothing below 32,768 tokens.
_DYNAMIC = RopeScaling("dynamic", factor=2.0, original_length=32768)

_INTERNVIT_300M = VisionConfig(
    hidden_size=1024, num_layers=24, num_heads=16, mlp_size=4096
)
_INTERNVIT_6B = VisionConfig(
    hidden_size=3200,
    num_layers=45,
    num_heads=25,
    mlp_size=12800,
    norm="rms_norm",
    qkv_bias=False,
    qk_norm=True,
)
_INTERNLM2_5_7B = TextConfig(
    vocab_size=92553,
    hidden_size=4096,
    num_layers=32,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    mlp_size=14336,
    max_length=65536,
    norm_eps=1e-5,
    qkv_bias=False,
    rope_scaling=_DYNAMIC,
)
_QWEN2_5_7B = TextConfig(
    vocab_size=151674,
    hidden_size=3584,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    mlp_size=18944,
    max_length=65536,
    rope_scaling=_DYNAMIC,
)
_QWEN2_5_32B = TextConfig(
    vocab_size=151674,
    hidden_size=5120,
    num_layers=64,
    num_heads=40,
    num_kv_heads=8,
    head_dim=128,
    mlp_size=27648,
    max_length=65536,
    rope_scaling=_DYNAMIC,
)
_QWQ_32B = TextConfig(
    vocab_size=152064,
    hidden_size=5120,
    num_layers=64,
    num_heads=40,
    num_kv_heads=8,
    head_dim=128,
    mlp_size=27648,
    max_length=32768,
    norm_eps=1e-5,
)

_QWEN_IMAGE_TOKEN, _INTERNLM2_IMAGE_TOKEN = 151667, 92546  # <IMG_CONTEXT>


def _internvl(text: TextConfig, vision: VisionConfig, image_token: int) -> ModelConfig:
    return ModelConfig(text=text, vision=vision, image_token_id=image_token)


MODELS = MappingProxyType(
    {
        "internvl2.5-8b": _internvl(
            _INTERNLM2_5_7B, _INTERNVIT_300M, _INTERNLM2_IMAGE_TOKEN
        ),
        "internvl3-8b": _internvl(_QWEN2_5_7B, _INTERNVIT_300M, _QWEN_IMAGE_TOKEN),
        "internvl2.5-38b": _internvl(_QWEN2_5_32B, _INTERNVIT_6B, _QWEN_IMAGE_TOKEN),
        "internvl3-38b": _internvl(_QWEN2_5_32B, _INTERNVIT_6B, _QWEN_IMAGE_TOKEN),
        "qwq-32b": ModelConfig(_QWQ_32B),
    }
)
"""Configurations by name, lower case."""
