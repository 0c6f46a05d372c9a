"""Hugging Face configuration files <-> our configurations."""

from __future__ import annotations

import dataclasses
import math

from sophia_jax.config import ModelConfig, RopeScaling, TextConfig, VisionConfig
from sophia_jax.models.hf_fields import Fields
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

__all__ = [
    "config_from_hf",
    "config_to_hf",
    "rope_to_hf",
    "text_config",
    "tiles_from_hf",
    "tiles_to_hf",
]

# By (qkv_bias, qk_norm): the model type, and the class that has a head.
TEXT_KINDS = {
    (True, False): ("qwen2", "Qwen2ForCausalLM"),
    (False, True): ("qwen3", "Qwen3ForCausalLM"),
    (False, False): ("llama", "LlamaForCausalLM"),
}
# Fields that must be false, and what transformers takes where they are absent.
BIASES = {
    "qwen3": {"attention_bias": False},
    "llama": {"attention_bias": False, "mlp_bias": False},
    "internlm2": {"bias": True},
}
BICUBIC = 3
RESCALE_FACTOR = 1 / 255


def config_from_hf(config: dict, where: str) -> ModelConfig:
    """Our configuration of a `config.json`.

    Args:
      config: its content, of the model type `internvl`, as transformers writes it, or
        of a text-only `qwen2`, `qwen3` or `llama`.
      where: the file's name, for messages.

    Returns:
      The model's configuration.

    Raises:
      InputError: another model type, a feature that is not implemented, a missing
        field or one out of range.

    Reference: https://huggingface.co/docs/transformers/model_doc/internvl.
    """
    top = Fields(config, where)
    kinds = (kind for kind, _ in TEXT_KINDS.values())
    kind = top.only("model_type", "internvl", *kinds)
    top.only("quantization_config", None)
    try:
        if kind != "internvl":
            tied = top.flag("tie_word_embeddings", default=False)
            return ModelConfig(text_config(top, tied_head=tied))
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
    kind = (config.text.qkv_bias, config.text.qk_norm)
    if kind not in TEXT_KINDS:
        raise InputError("qkv_bias: expected False beside qk_norm, got True")
    if config.vision is None:
        return {
            "architectures": [TEXT_KINDS[kind][1]],
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
    text = top.section("text_config")
    text.only("model_type", *(kind for kind, _ in TEXT_KINDS.values()))
    # The top level alone decides, and ties where it is silent, as in transformers.
    tied = top.flag("tie_word_embeddings", default=True)
    return ModelConfig(
        text_config(text, tied_head=tied),
        _vision_config(top.section("vision_config")),
        image_token_id=top.integer("image_token_id"),
        pixel_shuffle=top.inverse("downsample_ratio"),
    )


def text_config(text: Fields, *, tied_head: bool) -> TextConfig:
    """The decoder of a section with the fields of Qwen2, Qwen3, Llama or InternLM2."""
    kind = text.fields.get("model_type")
    text.only("hidden_act", "silu")
    for bias, default in BIASES.get(kind, {}).items():
        text.only(bias, False, default=default)
    if kind in ("qwen2", "qwen3"):
        _refuse_sliding_window(text)
    hidden_size = text.integer("hidden_size")
    num_heads = text.integer("num_attention_heads")
    if num_heads == 0:
        raise text.error("num_attention_heads", "> 0")
    head_dim = 128 if kind == "qwen3" else hidden_size // num_heads
    if text.fields.get("head_dim") is not None:
        head_dim = text.integer("head_dim")
    num_kv_heads = num_heads
    if text.fields.get("num_key_value_heads", 0) is not None:
        num_kv_heads = text.integer("num_key_value_heads")
    rope_theta, scaling = _rope(text)
    longest = 0 if scaling is None else scaling.longest
    return TextConfig(
        vocab_size=text.integer("vocab_size"),
        hidden_size=hidden_size,
        num_layers=text.integer("num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        mlp_size=text.integer("intermediate_size"),
        max_length=max(text.integer("max_position_embeddings"), longest),
        rope_theta=rope_theta,
        norm_eps=text.number("rms_norm_eps"),
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        tied_head=tied_head,
        rope_scaling=scaling,
    )


def rope_to_hf(text: TextConfig) -> dict:
    """The fields of `config.json` that say how long sequences are and how they turn."""
    scaling = text.rope_scaling
    if scaling is None:
        return {
            "max_position_embeddings": text.max_length,
            "rope_theta": text.rope_theta,
            "rope_scaling": None,
        }
    fields = {
        "type": scaling.kind,
        "rope_type": scaling.kind,
        "factor": scaling.factor,
    }
    if scaling.kind == "yarn":
        fields |= {
            "original_max_position_embeddings": scaling.original_length,
            "beta_fast": scaling.beta_fast,
            "beta_slow": scaling.beta_slow,
            "truncate": scaling.truncate,
        }
        if scaling.attention_factor is not None:
            fields["attention_factor"] = scaling.attention_factor
    yarn = scaling.kind == "yarn"
    return {
        "max_position_embeddings": text.max_length if yarn else scaling.original_length,
        "rope_theta": text.rope_theta,
        "rope_scaling": fields,
    }


def _rope(text: Fields) -> tuple[float, RopeScaling | None]:
    """Base and scaling, of the newer spelling (`rope_parameters`) or the older one."""
    name = "rope_scaling" if text.fields.get("rope_scaling") else "rope_parameters"
    if text.fields.get(name) is None:
        return text.number("rope_theta"), None
    rope = text.section(name)
    theta = (rope if "rope_theta" in rope.fields else text).number("rope_theta")
    spelling = "rope_type" if "rope_type" in rope.fields else "type"
    kind = rope.only(
        spelling, "default", "linear", "dynamic", "yarn", default="default"
    )
    if kind == "default":
        return theta, None
    rope.only("partial_rotary_factor", None, 1, 1.0)
    longest = text.integer("max_position_embeddings")
    original = longest
    if kind == "yarn" and rope.fields.get("original_max_position_embeddings"):
        original = rope.integer("original_max_position_embeddings")
    if kind == "yarn" and rope.fields.get("factor") is None:
        factor = longest / max(original, 1)
    else:
        factor = rope.number("factor")
    scaling = RopeScaling(kind, factor, original)
    return theta, _yarn(rope, scaling) if kind == "yarn" else scaling


def _yarn(rope: Fields, scaling: RopeScaling) -> RopeScaling:
    """The scaling with the optional fields of YaRN; null means the default."""
    given = {
        name: rope.number(name)
        for name in ("beta_fast", "beta_slow", "attention_factor")
        if rope.fields.get(name) is not None
    }
    scales = [rope.fields.get(name) for name in ("mscale", "mscale_all_dim")]
    if "attention_factor" not in given and all(scales):
        top, bottom = (
            0.1 * rope.number(name) * math.log(scaling.factor) + 1
            for name in ("mscale", "mscale_all_dim")
        )
        given["attention_factor"] = top / bottom
    truncate = rope.flag("truncate", default=True)
    return dataclasses.replace(scaling, truncate=truncate, **given)


def _refuse_sliding_window(text: Fields) -> None:
    kinds = text.fields.get("layer_types")
    full_only = isinstance(kinds, list) and all(k == "full_attention" for k in kinds)
    if kinds is not None and not full_only:
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
    rope = rope_to_hf(text)
    # Both spellings: transformers 4 knows the first alone, 5 prefers the second.
    parameters = (rope["rope_scaling"] or {"rope_type": "default"}) | {
        "rope_theta": text.rope_theta
    }
    kind, _ = TEXT_KINDS[text.qkv_bias, text.qk_norm]
    return {
        "model_type": kind,
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": text.num_heads,
        "num_key_value_heads": text.num_kv_heads,
        "head_dim": text.head_dim,
        "intermediate_size": text.mlp_size,
        "rms_norm_eps": text.norm_eps,
        "hidden_act": "silu",
        **({"use_sliding_window": False} if kind != "llama" else {}),
        **({"attention_bias": False} if kind != "qwen2" else {}),
        **{name: value for name, value in rope.items() if value is not None},
        "rope_parameters": parameters,
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
