"""One invertible table between our parameters and the names of Hugging Face files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.safetensors import TensorHeader
from sophia_jax.types import Array

__all__ = [
    "Weight",
    "file_names",
    "from_hf",
    "head_names",
    "mismatches",
    "to_hf",
    "weight_table",
]

READABLE = ("F32", "BF16", "F16")

# How transformers names these in memory, and in some files -> in most files.
SPELLINGS = (
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)


@dataclass(frozen=True)
class Weight:
    """One parameter of ours, and the tensor or tensors of a file that it comes from.

    Attributes:
      path: keys of the nested dict, joined by dots.
      name: the tensor's; with `{layer}` where ours has a leading layer axis.
      layout: "same"; "transposed": [input, output] here, [output, input] there;
        "patches": [row * column * channel, hidden] here, the kernel
        [hidden, channel, row, column] of a convolution there.
    """

    path: str
    name: str
    layout: Literal["same", "transposed", "patches"] = "same"

    @property
    def stacked(self) -> bool:
        return "{layer}" in self.name

    def names(self, shape: tuple[int, ...]) -> list[str]:
        """The tensors' names, layer by layer, for our parameter's shape."""
        if not self.stacked:
            return [self.name]
        return [self.name.format(layer=layer) for layer in range(shape[0])]


def weight_table(config: ModelConfig) -> tuple[Weight, ...]:
    """Every parameter of a model, once.

    Args:
      config: the model's.

    Returns:
      In the order of the forward pass; names as transformers writes them.
    """
    if config.vision is None:
        return _decoder(config, "")
    return (
        *_vision(config),
        *_norm("projector.norm", "multi_modal_projector.layer_norm"),
        *_linear("projector.up", "multi_modal_projector.linear_1"),
        *_linear("projector.down", "multi_modal_projector.linear_2"),
        *_decoder(config, "language_model."),
    )


def to_hf(params: dict, config: ModelConfig) -> dict[str, np.ndarray]:
    """The tensors of a Hugging Face file, in the parameters' dtype.

    Args:
      params: as of `init_params(key, config)`.
      config: the model's.

    Returns:
      Host arrays by name.
    """
    tensors = {}
    for weight in weight_table(config):
        value = np.asarray(_get(params, weight.path))
        layers = value if weight.stacked else [value]
        for name, layer in zip(weight.names(value.shape), layers, strict=True):
            tensors[name] = _to_file(layer, weight, config)
    return tensors


def from_hf(
    read: Callable[[str], np.ndarray],
    config: ModelConfig,
    *,
    dtype: jax.typing.DTypeLike = jnp.float32,
    place: Callable[[np.ndarray], Array] = jnp.asarray,
) -> dict:
    """Parameters from the tensors of a Hugging Face file, read one at a time.

    Args:
      read: gives the tensor of a name of `weight_table`.
      config: the model's.
      dtype: of the parameters.
      place: puts a host array onto its devices.

    Returns:
      The nested dict of `init_params(key, config)`.
    """
    shapes = abstract_params(config)
    params: dict = {}
    for weight in weight_table(config):
        shape = _get(shapes, weight.path).shape
        value = np.empty(shape, dtype)
        rows = value if weight.stacked else value[None]
        for row, name in enumerate(weight.names(shape)):
            rows[row] = _from_file(read(name), weight)
        _set(params, weight.path, place(value))
    return params


def file_names(config: ModelConfig, headers: Mapping[str, TensorHeader]) -> dict:
    """From the names of `weight_table` to a file's own, whichever spelling it has."""
    spellings = () if config.vision is None else SPELLINGS
    names = {}
    for name in headers:
        usual = name
        for old, new in spellings:
            if name.startswith(old):
                usual = new + name.removeprefix(old)
        names[usual] = name
    return names


def head_names(config: ModelConfig) -> tuple[str, str]:
    """The tensors of the embedding and of an output head that is not tied to it."""
    prefix = "" if config.vision is None else "language_model."
    return f"{prefix}model.embed_tokens.weight", f"{prefix}lm_head.weight"


def mismatches(config: ModelConfig, headers: Mapping[str, TensorHeader]) -> list[str]:
    """What keeps the tensors of a file from being the parameters of a model.

    Args:
      config: the model's.
      headers: of `read_headers`, by the file's names.

    Returns:
      One phrase per tensor that is missing, not expected, misshapen or of a dtype
      that is not read; empty when all is well.
    """
    shapes = abstract_params(config)
    found = file_names(config, headers)
    problems, known = [], set()
    for weight in weight_table(config):
        ours = _get(shapes, weight.path).shape
        shape = _file_shape(ours[1:] if weight.stacked else ours, weight, config)
        for name in weight.names(ours):
            known.add(name)
            if name not in found:
                problems.append(f"{name} is missing")
                continue
            header = headers[found[name]]
            if header.shape != shape:
                problems.append(f"{name}: expected shape {shape}, got {header.shape}")
            if header.dtype not in READABLE:
                rule = " or ".join(READABLE)
                problems.append(f"{name}: expected {rule}, got {header.dtype}")
    extra = sorted(found.keys() - known)
    return problems + [f"{name} is not expected" for name in extra]


def _to_file(value: np.ndarray, weight: Weight, config: ModelConfig) -> np.ndarray:
    if weight.layout == "patches":
        patch, channels = config.vision.patch_size, config.vision.num_channels
        value = value.reshape(patch, patch, channels, -1).transpose(3, 2, 0, 1)
    return np.ascontiguousarray(value.T if weight.layout == "transposed" else value)


def _from_file(value: np.ndarray, weight: Weight) -> np.ndarray:
    if weight.layout == "patches":
        return value.transpose(2, 3, 1, 0).reshape(-1, value.shape[0])
    return value.T if weight.layout == "transposed" else value


def _file_shape(
    shape: tuple[int, ...], weight: Weight, config: ModelConfig
) -> tuple[int, ...]:
    if weight.layout == "patches":
        patch, channels = config.vision.patch_size, config.vision.num_channels
        return (shape[1], channels, patch, patch)
    return shape[::-1] if weight.layout == "transposed" else shape


def _decoder(config: ModelConfig, prefix: str) -> tuple[Weight, ...]:
    bias, untied = config.text.qkv_bias, not config.text.tied_head
    path, name = "decoder.layers", prefix + "model.layers.{layer}"
    head = _linear("decoder.lm_head", f"{prefix}lm_head", bias=False)
    return (
        Weight("decoder.embedding.embedding", f"{prefix}model.embed_tokens.weight"),
        *_norm(f"{path}.attention_norm", f"{name}.input_layernorm", bias=False),
        *_linear(f"{path}.query", f"{name}.self_attn.q_proj", bias=bias),
        *_linear(f"{path}.key", f"{name}.self_attn.k_proj", bias=bias),
        *_linear(f"{path}.value", f"{name}.self_attn.v_proj", bias=bias),
        *_linear(f"{path}.out", f"{name}.self_attn.o_proj", bias=False),
        *_norm(f"{path}.mlp_norm", f"{name}.post_attention_layernorm", bias=False),
        *_linear(f"{path}.gate", f"{name}.mlp.gate_proj", bias=False),
        *_linear(f"{path}.up", f"{name}.mlp.up_proj", bias=False),
        *_linear(f"{path}.down", f"{name}.mlp.down_proj", bias=False),
        *_norm("decoder.norm", f"{prefix}model.norm", bias=False),
        *(head if untied else ()),
    )


def _vision(config: ModelConfig) -> tuple[Weight, ...]:
    vision = config.vision
    bias, norm_bias = vision.qkv_bias, vision.norm == "layer_norm"
    path, name = "vision.layers", "vision_tower.encoder.layer.{layer}"
    embeddings = "vision_tower.embeddings"
    patch = f"{embeddings}.patch_embeddings.projection"
    attention, projections = f"{path}.attention", f"{name}.attention"
    qk_norms = (
        *_norm(f"{attention}.query_norm", f"{projections}.q_norm", bias=False),
        *_norm(f"{attention}.key_norm", f"{projections}.k_norm", bias=False),
    )
    return (
        Weight("vision.class_token", f"{embeddings}.cls_token"),
        Weight("vision.positions", f"{embeddings}.position_embeddings"),
        Weight("vision.patch.kernel", f"{patch}.weight", "patches"),
        Weight("vision.patch.bias", f"{patch}.bias"),
        *_norm(f"{path}.attention_norm", f"{name}.layernorm_before", bias=norm_bias),
        *_linear(f"{attention}.query", f"{projections}.q_proj", bias=bias),
        *_linear(f"{attention}.key", f"{projections}.k_proj", bias=bias),
        *_linear(f"{attention}.value", f"{projections}.v_proj", bias=bias),
        *(qk_norms if vision.qk_norm else ()),
        *_linear(f"{attention}.out", f"{projections}.projection_layer"),
        Weight(f"{path}.attention_scale", f"{name}.lambda_1"),
        *_norm(f"{path}.mlp_norm", f"{name}.layernorm_after", bias=norm_bias),
        *_linear(f"{path}.up", f"{name}.mlp.fc1"),
        *_linear(f"{path}.down", f"{name}.mlp.fc2"),
        Weight(f"{path}.mlp_scale", f"{name}.lambda_2"),
    )


def _linear(path: str, name: str, *, bias: bool = True) -> list[Weight]:
    kernel = Weight(f"{path}.kernel", f"{name}.weight", "transposed")
    return [kernel, Weight(f"{path}.bias", f"{name}.bias")] if bias else [kernel]


def _norm(path: str, name: str, *, bias: bool = True) -> list[Weight]:
    scale = Weight(f"{path}.scale", f"{name}.weight")
    return [scale, Weight(f"{path}.bias", f"{name}.bias")] if bias else [scale]


def _get(tree: dict, path: str):
    for key in path.split("."):
        tree = tree[key]
    return tree


def _set(tree: dict, path: str, value: Array) -> None:
    *parents, last = path.split(".")
    for key in parents:
        tree = tree.setdefault(key, {})
    tree[last] = value
