"""Configuration files of the original InternVL folders <-> our configurations."""

from __future__ import annotations

from typing import Any

from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
from sophia_jax.models.hf_config import rope_to_hf, text_config
from sophia_jax.models.hf_fields import Fields
from sophia_jax.models.tokenizer import IMAGE_CONTEXT
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

__all__ = ["ORIGINAL_KINDS", "original_config", "original_config_to_hf"]

MULTIMODAL, TEXT_ONLY = ORIGINAL_KINDS = ("internvl_chat", "internlm2")
VISION_KIND = "intern_vit_6b"  # that of the 300M tower too


def original_config(config: dict, where: str, tokenizer: Any) -> ModelConfig:
    """Our configuration of an original `config.json`.

    The code that the file's `auto_map` names is never asked for.

    Args:
      config: its content, of an `InternVLChatModel` with a decoder of Qwen2.5 or
        InternLM2, or of a text-only `InternLM2ForCausalLM`.
      where: the file's name, for messages.
      tokenizer: which alone knows the image placeholder.

    Returns:
      The model's configuration.

    Raises:
      InputError: a feature that is not implemented, a missing field or one out of
        range, or a tokenizer without the placeholder.

    Reference: https://huggingface.co/OpenGVLab/InternVL3-8B.
    """
    top = Fields(config, where)
    kind = top.only("model_type", *ORIGINAL_KINDS)
    top.only("quantization_config", None)
    try:
        return _text_only(top) if kind == TEXT_ONLY else _multimodal(top, tokenizer)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def original_config_to_hf(
    config: ModelConfig,
    tiles: TileGeometry | None,
    *,
    dtype: str,
    template: str | None,
) -> dict:
    """The content of the original `config.json` that says the same.

    It names no code: who runs the original code adds its `auto_map` and its files.

    Args:
      config: the model's; with a decoder of Qwen2.5 (biases) or InternLM2 (none).
      tiles: how pictures are cut; None for a text-only model.
      dtype: of the weights: "float32", "bfloat16" or "float16".
      template: what the original code calls the chat template; None where it has no
        name for it, and the tokenizer's own files have it alone.

    Returns:
      A JSON object.

    Raises:
      InputError: the format cannot say what the configuration does.
    """
    if config.text.qk_norm:
        raise InputError("qk_norm: expected False in the original layout, got True")
    text = config.text
    if text.head_dim * text.num_heads != text.hidden_size:
        raise InputError(
            f"head_dim: expected hidden_size / num_heads = "
            f"{text.hidden_size / text.num_heads:g}, got {text.head_dim}"
        )
    if config.vision is None:
        return _text_to_hf(text, dtype)
    return {
        "architectures": ["InternVLChatModel"],
        "model_type": MULTIMODAL,
        "torch_dtype": dtype,
        "downsample_ratio": 1 / config.pixel_shuffle,
        "dynamic_image_size": tiles.max_tiles > 1,
        "force_image_size": tiles.tile_size,
        "hidden_size": text.hidden_size,
        "llm_config": _text_to_hf(text, dtype),
        "max_dynamic_patch": tiles.max_tiles,
        "min_dynamic_patch": tiles.min_tiles,
        "pad2square": False,
        "ps_version": "v2",
        "select_layer": -1,
        "template": template,
        "tie_word_embeddings": text.tied_head,
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "use_thumbnail": tiles.use_thumbnail,
        "vision_config": _vision_to_hf(config.vision, dtype),
    }


def _text_only(top: Fields) -> ModelConfig:
    return ModelConfig(
        text_config(top, tied_head=top.flag("tie_word_embeddings", False))
    )


def _multimodal(top: Fields, tokenizer: Any) -> ModelConfig:
    vocabulary = tokenizer.get_vocab()
    top.only("ps_version", "v2")
    top.only("select_layer", -1)
    top.only("pad2square", False, default=False)
    for adapter in ("use_backbone_lora", "use_llm_lora"):
        top.only(adapter, 0, default=0)
    if IMAGE_CONTEXT not in vocabulary:
        raise InputError(f"{top.where}: tokenizer: expected {IMAGE_CONTEXT}, got none")
    text = top.section("llm_config")
    text.only("model_type", "qwen2", "internlm2")
    return ModelConfig(
        text_config(text, tied_head=text.flag("tie_word_embeddings", False)),
        _vision(top.section("vision_config")),
        image_token_id=vocabulary[IMAGE_CONTEXT],
        pixel_shuffle=top.inverse("downsample_ratio"),
    )


def _vision(vision: Fields) -> VisionConfig:
    vision.only("hidden_act", "gelu")
    return VisionConfig(
        hidden_size=vision.integer("hidden_size"),
        num_layers=vision.integer("num_hidden_layers"),
        num_heads=vision.integer("num_attention_heads"),
        mlp_size=vision.integer("intermediate_size"),
        image_size=vision.side("image_size"),
        patch_size=vision.side("patch_size"),
        num_channels=vision.only("num_channels", 3, default=3),
        norm=vision.only("norm_type", "layer_norm", "rms_norm", default="rms_norm"),
        norm_eps=vision.number("layer_norm_eps"),
        qkv_bias=vision.flag("qkv_bias", default=False),
        qk_norm=vision.flag("qk_normalization", default=True),
        layer_scale=vision.number("initializer_factor"),
    )


def _text_to_hf(text: TextConfig, dtype: str) -> dict:
    kind, name = ("qwen2", "Qwen2ForCausalLM")
    if not text.qkv_bias:
        kind, name = ("internlm2", "InternLM2ForCausalLM")
    return {
        "architectures": [name],
        "model_type": kind,
        "torch_dtype": dtype,
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "num_key_value_heads": text.num_kv_heads,
        "intermediate_size": text.mlp_size,
        "rms_norm_eps": text.norm_eps,
        "hidden_act": "silu",
        "tie_word_embeddings": text.tied_head,
        **rope_to_hf(text),
        **({"bias": False} if kind == "internlm2" else {"use_sliding_window": False}),
    }


def _vision_to_hf(vision: VisionConfig, dtype: str) -> dict:
    return {
        "architectures": ["InternVisionModel"],
        "model_type": VISION_KIND,
        "torch_dtype": dtype,
        "hidden_size": vision.hidden_size,
        "num_hidden_layers": vision.num_layers,
        "num_attention_heads": vision.num_heads,
        "intermediate_size": vision.mlp_size,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "num_channels": vision.num_channels,
        "norm_type": vision.norm,
        "layer_norm_eps": vision.norm_eps,
        "qkv_bias": vision.qkv_bias,
        "qk_normalization": vision.qk_norm,
        "initializer_factor": vision.layer_scale,
        "hidden_act": "gelu",
        "use_flash_attn": False,
    }
