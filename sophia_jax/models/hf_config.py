"""Hugging Face configuration files <-> our configurations."""

from __future__ import annotations

from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
from sophia_jax.models.hf_fields import Fields
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

__all__ = ["config_from_hf", "config_to_hf", "tiles_from_hf", "tiles_to_hf"]

ROPE_TYPES = (
    "default",
    "dynamic",  # equals the default up to max_position_embeddings, our max_length
)
BICUBIC = 3
RESCALE_FACTOR = 1 / 255


def config_from_hf(config: dict, where: str) -> ModelConfig:
    """Our configuration of a `config.json`.

    Args:
      config: its content, of the model type `internvl` (as transformers writes it, with
        a `qwen2` decoder) or `qwen2`.
      where: the file's name, for messages.

    Returns:
      The model's configuration.

    Raises:
      InputError: another model type, a feature that is not implemented, a missing
        field or one out of range.

    Reference: https://huggingface.co/docs/transformers/model_doc/internvl.
    """
    top = Fields(config, where)
    kind = top.only("model_type", "internvl", "qwen2")
    top.only("quantization_config", None)
    try:
        if kind == "qwen2":
            tied = top.flag("tie_word_embeddings", default=False)
            return ModelConfig(_text_config(top, tied_head=tied))
        return _internvl_config(top)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def config_to_hf(config: ModelConfig, *, dtype: str) -> dict:
    """The content of the `config.json` that transformers loads as the same model.

    Args:
      config: the model's.
      dtype: of its weights: "float32", "bfloat16" or "float16".

    Returns:
      A JSON object.

    Raises:
      InputError: the format cannot say what the configuration does.
    """
    if not config.text.qkv_bias:
        raise InputError("qkv_bias: expected True (qwen2 has no other), got False")
    if config.vision is None:
        return {
            "architectures": ["Qwen2ForCausalLM"],
            "dtype": dtype,
            **_text_to_hf(config.text),
        }
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "dtype": dtype,
        "downsample_ratio": 1 / config.pixel_shuffle,
        "image_seq_length": config.tokens_per_tile,
        "image_token_id": config.image_token_id,
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": config.text.tied_head,
        "text_config": _text_to_hf(config.text),
        "vision_config": _vision_to_hf(config.vision),
    }


def tiles_from_hf(preprocessor: dict, where: str) -> TileGeometry:
    """How pictures are cut, of a `preprocessor_config.json`.

    Args:
      preprocessor: its content, of a GOT-OCR2 image processor, which InternVL uses.
      where: the file's name, for messages.

    Returns:
      The geometry; of exactly one tile when `crop_to_patches` is false.

    Raises:
      InputError: a step that is not implemented, a missing field or one out of range.

    Reference: https://huggingface.co/docs/transformers/model_doc/got_ocr2.
    """
    fields = Fields(preprocessor, where)
    kind = "GotOcr2ImageProcessor"
    fields.only("image_processor_type", kind, f"{kind}Fast", f"{kind}Pil", default=kind)
    for step in ("do_resize", "do_rescale", "do_normalize", "do_convert_rgb"):
        fields.only(step, True, default=True)
    fields.only("resample", BICUBIC, default=BICUBIC)
    factor = fields.fields.get("rescale_factor", RESCALE_FACTOR)
    if factor != RESCALE_FACTOR:
        raise fields.error("rescale_factor", f"1 / 255 = {RESCALE_FACTOR}")
    crop = fields.flag("crop_to_patches", default=False)
    try:
        return TileGeometry(
            fields.side("size"),
            min_tiles=fields.integer("min_patches") if crop else 1,
            max_tiles=fields.integer("max_patches") if crop else 1,
            mean=fields.triple("image_mean"),
            std=fields.triple("image_std"),
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def tiles_to_hf(tiles: TileGeometry) -> dict:
    """The content of the `preprocessor_config.json` that cuts pictures alike.

    Raises:
      InputError: the geometry has several tiles and no thumbnail, which the format
        cannot say.
    """
    if tiles.max_tiles > 1 and not tiles.use_thumbnail:
        raise InputError("use_thumbnail: expected True with several tiles, got False")
    return {
        "image_processor_type": "GotOcr2ImageProcessor",
        "crop_to_patches": tiles.max_tiles > 1,
        "min_patches": tiles.min_tiles,
        "max_patches": tiles.max_tiles,
        "size": {"height": tiles.tile_size, "width": tiles.tile_size},
        "resample": BICUBIC,
        "image_mean": list(tiles.mean),
        "image_std": list(tiles.std),
        "rescale_factor": RESCALE_FACTOR,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
    }


def _internvl_config(top: Fields) -> ModelConfig:
    top.only("projector_hidden_act", "gelu", default="gelu")
    top.only("vision_feature_layer", -1, default=-1)
    top.only("vision_feature_select_strategy", "default", default="default")
    ratio = top.number("downsample_ratio")
    pixel_shuffle = max(1, round(1 / ratio))
    if abs(ratio * pixel_shuffle - 1) > 1e-6:
        raise top.error("downsample_ratio", "1 over a whole number")
    text = top.section("text_config")
    text.only("model_type", "qwen2")
    # The top level alone decides, and ties where it is silent, as in transformers.
    tied = top.flag("tie_word_embeddings", default=True)
    return ModelConfig(
        _text_config(text, tied_head=tied),
        _vision_config(top.section("vision_config")),
        image_token_id=top.integer("image_token_id"),
        pixel_shuffle=pixel_shuffle,
    )


def _text_config(text: Fields, *, tied_head: bool) -> TextConfig:
    text.only("hidden_act", "silu")
    _refuse_sliding_window(text)
    hidden_size = text.integer("hidden_size")
    num_heads = text.integer("num_attention_heads")
    if num_heads == 0:
        raise text.error("num_attention_heads", "> 0")
    head_dim = hidden_size // num_heads
    if text.fields.get("head_dim") is not None:
        head_dim = text.integer("head_dim")
    num_kv_heads = num_heads
    if text.fields.get("num_key_value_heads", 0) is not None:
        num_kv_heads = text.integer("num_key_value_heads")
    return TextConfig(
        vocab_size=text.integer("vocab_size"),
        hidden_size=hidden_size,
        num_layers=text.integer("num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        mlp_size=text.integer("intermediate_size"),
        max_length=text.integer("max_position_embeddings"),
        rope_theta=_rope_theta(text),
        norm_eps=text.number("rms_norm_eps"),
        tied_head=tied_head,
    )


def _rope_theta(text: Fields) -> float:
    """The base, of the newer spelling (`rope_parameters`) or the older one."""
    name = "rope_scaling" if text.fields.get("rope_scaling") else "rope_parameters"
    if text.fields.get(name) is None:
        return text.number("rope_theta")
    rope = text.section(name)
    spelling = "rope_type" if "rope_type" in rope.fields else "type"
    rope.only(spelling, *ROPE_TYPES, default="default")
    return (rope if "rope_theta" in rope.fields else text).number("rope_theta")


def _refuse_sliding_window(text: Fields) -> None:
    kinds = text.fields.get("layer_types")
    if kinds is not None and set(kinds) - {"full_attention"}:
        raise text.error("layer_types", "full_attention in every layer")
    if kinds is None and text.flag("use_sliding_window", default=False):
        full = text.integer("max_window_layers") >= text.integer("num_hidden_layers")
        if not full and text.fields.get("sliding_window") is not None:
            raise text.error("use_sliding_window", "false")


def _vision_config(vision: Fields) -> VisionConfig:
    vision.only("hidden_act", "gelu")
    vision.only("use_mask_token", False, default=False)
    vision.only("use_absolute_position_embeddings", True, default=True)
    # Pooling over patches is what leaves the last layer without a norm of its own.
    vision.only("use_mean_pooling", True, default=True)
    return VisionConfig(
        hidden_size=vision.integer("hidden_size"),
        num_layers=vision.integer("num_hidden_layers"),
        num_heads=vision.integer("num_attention_heads"),
        mlp_size=vision.integer("intermediate_size"),
        image_size=vision.side("image_size"),
        patch_size=vision.side("patch_size"),
        num_channels=vision.only("num_channels", 3, default=3),
        norm=vision.only("norm_type", "layer_norm", "rms_norm", default="layer_norm"),
        norm_eps=vision.number("layer_norm_eps"),
        qkv_bias=vision.flag("attention_bias", default=False),
        qk_norm=vision.flag("use_qk_norm", default=False),
        layer_scale=vision.number("layer_scale_init_value"),
    )


def _text_to_hf(text: TextConfig) -> dict:
    return {
        "model_type": "qwen2",
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "num_key_value_heads": text.num_kv_heads,
        "head_dim": text.head_dim,
        "intermediate_size": text.mlp_size,
        "max_position_embeddings": text.max_length,
        "rms_norm_eps": text.norm_eps,
        "hidden_act": "silu",
        "use_sliding_window": False,
        # Both spellings: transformers 4 knows the first alone, 5 prefers the second.
        "rope_theta": text.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": text.rope_theta},
        "tie_word_embeddings": text.tied_head,
    }


def _vision_to_hf(vision: VisionConfig) -> dict:
    return {
        "model_type": "internvl_vision",
        "hidden_size": vision.hidden_size,
        "num_hidden_layers": vision.num_layers,
        "num_attention_heads": vision.num_heads,
        "intermediate_size": vision.mlp_size,
        "image_size": [vision.image_size, vision.image_size],
        "patch_size": [vision.patch_size, vision.patch_size],
        "num_channels": vision.num_channels,
        "norm_type": vision.norm,
        "layer_norm_eps": vision.norm_eps,
        "attention_bias": vision.qkv_bias,
        "use_qk_norm": vision.qk_norm,
        "layer_scale_init_value": vision.layer_scale,
        "hidden_act": "gelu",
        "use_mask_token": False,
        "use_mean_pooling": True,
    }
