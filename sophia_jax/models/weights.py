"""Between our parameters and the tensors of Hugging Face files, by the table."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from sophia_jax.config import ModelConfig
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.safetensors import TensorHeader
from sophia_jax.models.weight_table import Layout, Weight, weight_table
from sophia_jax.types import Array

__all__ = [
    "file_names",
    "file_rows",
    "get_param",
    "head_names",
    "mismatches",
    "on_host",
    "patches_from_file",
    "row_runs",
    "tensor_names",
    "to_hf",
]


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

    Where several processes share the weights, each of them gets every tensor, and all
    must take them in step.

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
                _to_file(on_host(part[layer] if weight.stacked else part), weight)
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


def on_host(array: Array) -> np.ndarray:
    """All of an array; of several processes, all of them must ask."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        array = multihost_utils.process_allgather(array, tiled=True)
    return np.asarray(array)


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
