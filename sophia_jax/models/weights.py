"""One invertible table between our parameters and the names of Hugging Face files."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.safetensors import TensorHeader
from sophia_jax.types import Array

__all__ = [
    "Layout",
    "Weight",
    "file_names",
    "file_rows",
    "get_param",
    "head_names",
    "mismatches",
    "patches_from_file",
    "row_runs",
    "tensor_names",
    "to_hf",
    "weight_table",
]

Layout = Literal["transformers", "original"]
"""Whose names the tensors have: `InternVLForConditionalGeneration` of transformers, or
`InternVLChatModel`, the code that the models were published with."""

READABLE = ("F32", "BF16", "F16")

# Tables of angles that old files hold, and that everyone forms anew.
COMPUTED = ".rotary_emb.inv_freq"

# How transformers names these in memory, and in some files -> in most files.
SPELLINGS = (
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)


@dataclass(frozen=True)
class Weight:
    """A tensor of a file, and the parameter or parameters of ours that it holds.

    Attributes:
      name: the tensor's; with `{layer}` where ours have a leading layer axis.
      paths: of our parameters: keys of the nested dict, joined by dots. The tensor's
        rows are those of the first, then of the second, and so on.
      layout: of each: "same"; "transposed": [input, output] here, [output, input]
        there; "patches": [row * column * channel, hidden] here, the kernel [hidden,
        channel, row, column] of a convolution there.
      groups: the rows come in so many equal groups, each with its share of every
        parameter's rows.
      padded: ours has rows at the end that the file has not.
    """

    name: str
    paths: tuple[str, ...]
    layout: Literal["same", "transposed", "patches"] = "same"
    groups: int = 1
    padded: bool = False

    @property
    def stacked(self) -> bool:
        return "{layer}" in self.name

    @property
    def row_axis(self) -> int:
        """The axis of ours, less that of layers, which is the file's first."""
        return 0 if self.layout == "same" else -1


def weight_table(
    config: ModelConfig, layout: Layout = "transformers"
) -> tuple[Weight, ...]:
    """Every parameter of a model, once.

    Args:
      config: the model's.
      layout: whose names.

    Returns:
      In the order of the forward pass; names as they are written.
    """
    original = layout == "original"
    text = config.text
    fused = original and not text.qkv_bias  # InternLM2; a Qwen2 decoder is not renamed
    decoder = _internlm2 if fused else _decoder
    if config.vision is None:
        return decoder(config, "")
    projector = ("layer_norm", "linear_1", "linear_2")
    prefix = "multi_modal_projector."
    if original:
        projector, prefix = ("0", "1", "3"), "mlp1."
    norm, up, down = (prefix + name for name in projector)
    return (
        *(_original_vision if original else _vision)(config),
        *_norm("projector.norm", norm),
        *_linear("projector.up", up),
        *_linear("projector.down", down),
        *decoder(config, "language_model."),
    )


def tensor_names(weight: Weight, shapes: dict) -> list[str]:
    """The tensors' names, layer by layer."""
    if not weight.stacked:
        return [weight.name]
    num_layers = get_param(shapes, weight.paths[0]).shape[0]
    return [weight.name.format(layer=layer) for layer in range(num_layers)]


def row_runs(
    weight: Weight, part: int, rows: tuple[int, ...], start: int, stop: int
) -> Iterator[tuple[int, int, int]]:
    """Where rows of one of a tensor's parameters stand in the tensor.

    Args:
      weight: the tensor's.
      part: which parameter of `weight.paths`.
      rows: of each of these in the file.
      start, stop: the wanted rows of this one.

    Yields:
      (first row wanted, first row in the tensor, how many follow one another there).
    """
    share = rows[part] // weight.groups
    group_rows = sum(rows) // weight.groups
    before = sum(rows[:part]) // weight.groups
    stop = min(stop, rows[part])
    while start < stop:
        group, offset = divmod(start, share)
        count = min(share - offset, stop - start)
        yield start, group * group_rows + before + offset, count
        start += count


def file_rows(weight: Weight, shapes: dict, config: ModelConfig) -> tuple[int, ...]:
    """Rows that each of a tensor's parameters has in the file."""
    if weight.padded:
        return (config.text.vocab_size,)
    axis = weight.row_axis + (weight.stacked and weight.row_axis == 0)
    return tuple(get_param(shapes, path).shape[axis] for path in weight.paths)


def file_shape(weight: Weight, shapes: dict, config: ModelConfig) -> tuple[int, ...]:
    """The shape of each of a weight's tensors."""
    ours = get_param(shapes, weight.paths[0]).shape[weight.stacked :]
    rows = sum(file_rows(weight, shapes, config))
    if weight.layout == "patches":
        patch, channels = config.vision.patch_size, config.vision.num_channels
        return (rows, channels, patch, patch)
    return (rows, *(ours[:-1] if weight.layout == "transposed" else ours[1:]))


def to_hf(
    params: dict, config: ModelConfig, layout: Layout = "transformers"
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a Hugging Face file, in the parameters' dtype, one at a time.

    Args:
      params: as of `init_params(key, config)`.
      config: the model's.
      layout: whose names.

    Yields:
      Names and host arrays.
    """
    for weight in weight_table(config, layout):
        rows = file_rows(weight, params, config)
        shape = file_shape(weight, params, config)
        for layer, name in enumerate(tensor_names(weight, params)):
            parts = (get_param(params, path) for path in weight.paths)
            parts = [
                _to_file(np.asarray(part[layer] if weight.stacked else part), weight)
                for part in parts
            ]
            tensor = _joined(parts, rows, weight.groups) if parts[1:] else parts[0]
            yield name, np.ascontiguousarray(tensor[: sum(rows)]).reshape(shape)


def file_names(
    config: ModelConfig,
    headers: Collection[str],
    layout: Layout = "transformers",
) -> dict[str, str]:
    """From the names of `weight_table` to a file's own, whichever spelling it has."""
    plain = config.vision is None or layout == "original"
    names = {}
    for name in headers:
        usual = name
        for old, new in () if plain else SPELLINGS:
            if name.startswith(old):
                usual = new + name.removeprefix(old)
        names[usual] = name
    return names


def head_names(config: ModelConfig, layout: Layout = "transformers") -> tuple[str, str]:
    """The tensors of the embedding and of an output head that is not tied to it."""
    prefix = "" if config.vision is None else "language_model."
    if layout == "original" and not config.text.qkv_bias:
        return f"{prefix}model.tok_embeddings.weight", f"{prefix}output.weight"
    return f"{prefix}model.embed_tokens.weight", f"{prefix}lm_head.weight"


def mismatches(
    config: ModelConfig,
    headers: Mapping[str, TensorHeader],
    layout: Layout = "transformers",
    *,
    unread: Collection[str] = (),
) -> list[str]:
    """What keeps the tensors of a file from being the parameters of a model.

    Nothing is allocated.

    Args:
      config: the model's.
      headers: of `read_headers`, by the file's names.
      layout: whose names.
      unread: names of tensors in files that could not be read: they are not missing.

    Returns:
      One phrase per tensor that is missing, not expected, misshapen or of a dtype
      that is not read; empty when all is well.
    """
    shapes = abstract_params(config)
    found = file_names(config, headers, layout)
    hidden = file_names(config, unread, layout)
    problems, known = [], set()
    for weight in weight_table(config, layout):
        shape = file_shape(weight, shapes, config)
        for name in tensor_names(weight, shapes):
            known.add(name)
            if name not in found:
                if name not in hidden:
                    problems.append(f"{name} is missing")
                continue
            header = headers[found[name]]
            if header.shape != shape:
                problems.append(f"{name}: expected shape {shape}, got {header.shape}")
            if header.dtype not in READABLE:
                rule = " or ".join(READABLE)
                problems.append(f"{name}: expected {rule}, got {header.dtype}")
    extra = sorted(found.keys() - known)
    problems += [
        f"{name} is not expected" for name in extra if not name.endswith(COMPUTED)
    ]
    doubles = sorted(set(headers) - set(found.values()))
    return problems + [f"{name} is there in another spelling too" for name in doubles]


def get_param(tree: dict, path: str) -> Array:
    """The parameter at keys that are joined by dots."""
    for key in path.split("."):
        tree = tree[key]
    return tree


def patches_from_file(rows: np.ndarray) -> np.ndarray:
    """Some rows of a convolution's kernel, as ours has them."""
    return rows.transpose(2, 3, 1, 0).reshape(-1, rows.shape[0])


def _to_file(value: np.ndarray, weight: Weight) -> np.ndarray:
    """Rows of a tensor; a convolution's kernel is [hidden, channel * row * column]."""
    if weight.layout == "patches":
        side = math.isqrt(len(value) // 3)
        kernel = value.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)
        return kernel.reshape(kernel.shape[0], -1)
    return value.T if weight.layout == "transposed" else value


def _joined(parts: list[np.ndarray], rows: tuple[int, ...], groups: int) -> np.ndarray:
    """Rows of several parameters, group by group."""
    grouped = [
        part.reshape(groups, count // groups, *part.shape[1:])
        for part, count in zip(parts, rows, strict=True)
    ]
    joined = np.concatenate(grouped, axis=1)
    return joined.reshape(-1, *joined.shape[2:])


def _decoder(config: ModelConfig, prefix: str) -> tuple[Weight, ...]:
    """Qwen2, Qwen3 and Llama, which are named alike in both layouts."""
    bias, untied = config.text.qkv_bias, not config.text.tied_head
    path, name = "decoder.layers", prefix + "model.layers.{layer}"
    qk_norms = (
        *_norm(f"{path}.query_norm", f"{name}.self_attn.q_norm", bias=False),
        *_norm(f"{path}.key_norm", f"{name}.self_attn.k_norm", bias=False),
    )
    return (
        _embedding(f"{prefix}model.embed_tokens.weight"),
        *_norm(f"{path}.attention_norm", f"{name}.input_layernorm", bias=False),
        *_linear(f"{path}.query", f"{name}.self_attn.q_proj", bias=bias),
        *_linear(f"{path}.key", f"{name}.self_attn.k_proj", bias=bias),
        *_linear(f"{path}.value", f"{name}.self_attn.v_proj", bias=bias),
        *(qk_norms if config.text.qk_norm else ()),
        *_linear(f"{path}.out", f"{name}.self_attn.o_proj", bias=False),
        *_norm(f"{path}.mlp_norm", f"{name}.post_attention_layernorm", bias=False),
        *_linear(f"{path}.gate", f"{name}.mlp.gate_proj", bias=False),
        *_linear(f"{path}.up", f"{name}.mlp.up_proj", bias=False),
        *_linear(f"{path}.down", f"{name}.mlp.down_proj", bias=False),
        *_norm("decoder.norm", f"{prefix}model.norm", bias=False),
        *((_head(f"{prefix}lm_head.weight"),) if untied else ()),
    )


def _internlm2(config: ModelConfig, prefix: str) -> tuple[Weight, ...]:
    """InternLM2: its queries, keys and values are packed by key-value head."""
    untied = not config.text.tied_head
    path, name = "decoder.layers", prefix + "model.layers.{layer}"
    attention = tuple(f"{path}.{part}.kernel" for part in ("query", "key", "value"))
    return (
        _embedding(f"{prefix}model.tok_embeddings.weight"),
        *_norm(f"{path}.attention_norm", f"{name}.attention_norm", bias=False),
        Weight(
            f"{name}.attention.wqkv.weight",
            attention,
            "transposed",
            groups=config.text.num_kv_heads,
        ),
        *_linear(f"{path}.out", f"{name}.attention.wo", bias=False),
        *_norm(f"{path}.mlp_norm", f"{name}.ffn_norm", bias=False),
        *_linear(f"{path}.gate", f"{name}.feed_forward.w1", bias=False),
        *_linear(f"{path}.up", f"{name}.feed_forward.w3", bias=False),
        *_linear(f"{path}.down", f"{name}.feed_forward.w2", bias=False),
        *_norm("decoder.norm", f"{prefix}model.norm", bias=False),
        *((_head(f"{prefix}output.weight"),) if untied else ()),
    )


def _vision(config: ModelConfig) -> tuple[Weight, ...]:
    bias = config.vision.qkv_bias
    path, name = "vision.layers.attention", "vision_tower.encoder.layer.{layer}"
    projections = f"{name}.attention"
    embeddings = "vision_tower.embeddings"
    return (
        Weight(f"{embeddings}.cls_token", ("vision.class_token",)),
        Weight(f"{embeddings}.position_embeddings", ("vision.positions",)),
        *_patches(f"{embeddings}.patch_embeddings.projection"),
        *_vision_norm(config, "attention_norm", f"{name}.layernorm_before"),
        *_linear(f"{path}.query", f"{projections}.q_proj", bias=bias),
        *_linear(f"{path}.key", f"{projections}.k_proj", bias=bias),
        *_linear(f"{path}.value", f"{projections}.v_proj", bias=bias),
        *_vision_qk_norms(config, projections),
        *_linear(f"{path}.out", f"{projections}.projection_layer"),
        Weight(f"{name}.lambda_1", ("vision.layers.attention_scale",)),
        *_vision_norm(config, "mlp_norm", f"{name}.layernorm_after"),
        *_linear("vision.layers.up", f"{name}.mlp.fc1"),
        *_linear("vision.layers.down", f"{name}.mlp.fc2"),
        Weight(f"{name}.lambda_2", ("vision.layers.mlp_scale",)),
    )


def _original_vision(config: ModelConfig) -> tuple[Weight, ...]:
    path, name = "vision.layers.attention", "vision_model.encoder.layers.{layer}"
    embeddings = "vision_model.embeddings"
    kernels, biases = (
        tuple(f"{path}.{part}.{kind}" for part in ("query", "key", "value"))
        for kind in ("kernel", "bias")
    )
    qkv = f"{name}.attn.qkv"
    return (
        Weight(f"{embeddings}.class_embedding", ("vision.class_token",)),
        Weight(f"{embeddings}.position_embedding", ("vision.positions",)),
        *_patches(f"{embeddings}.patch_embedding"),
        *_vision_norm(config, "attention_norm", f"{name}.norm1"),
        Weight(f"{qkv}.weight", kernels, "transposed"),
        *((Weight(f"{qkv}.bias", biases),) if config.vision.qkv_bias else ()),
        *_vision_qk_norms(config, f"{name}.attn"),
        *_linear(f"{path}.out", f"{name}.attn.proj"),
        Weight(f"{name}.ls1", ("vision.layers.attention_scale",)),
        *_vision_norm(config, "mlp_norm", f"{name}.norm2"),
        *_linear("vision.layers.up", f"{name}.mlp.fc1"),
        *_linear("vision.layers.down", f"{name}.mlp.fc2"),
        Weight(f"{name}.ls2", ("vision.layers.mlp_scale",)),
    )


def _patches(name: str) -> tuple[Weight, ...]:
    return (
        Weight(f"{name}.weight", ("vision.patch.kernel",), "patches"),
        Weight(f"{name}.bias", ("vision.patch.bias",)),
    )


def _vision_norm(config: ModelConfig, norm: str, name: str) -> tuple[Weight, ...]:
    return _norm(f"vision.layers.{norm}", name, bias=config.vision.norm == "layer_norm")


def _vision_qk_norms(config: ModelConfig, name: str) -> tuple[Weight, ...]:
    path = "vision.layers.attention"
    if not config.vision.qk_norm:
        return ()
    return (
        *_norm(f"{path}.query_norm", f"{name}.q_norm", bias=False),
        *_norm(f"{path}.key_norm", f"{name}.k_norm", bias=False),
    )


def _embedding(name: str) -> Weight:
    return Weight(name, ("decoder.embedding.embedding",), padded=True)


def _head(name: str) -> Weight:
    return Weight(name, ("decoder.lm_head.kernel",), "transposed", padded=True)


def _linear(path: str, name: str, *, bias: bool = True) -> tuple[Weight, ...]:
    kernel = Weight(f"{name}.weight", (f"{path}.kernel",), "transposed")
    return (kernel, Weight(f"{name}.bias", (f"{path}.bias",))) if bias else (kernel,)


def _norm(path: str, name: str, *, bias: bool = True) -> tuple[Weight, ...]:
    scale = Weight(f"{name}.weight", (f"{path}.scale",))
    return (scale, Weight(f"{name}.bias", (f"{path}.bias",))) if bias else (scale,)
