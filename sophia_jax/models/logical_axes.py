"""Which logical axes each parameter has, and where a mesh puts it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import NamedSharding

from sophia_jax.config import LoraConfig, ModelConfig, VisionConfig
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.placing import Place
from sophia_jax.sharding import Partition

__all__ = ["check_partition", "logical_axes", "param_shardings", "placed_by"]

Axes = tuple[str | None, ...]

# What the decoder's matrices read and write: [input output].
MATRICES: dict[str, Axes] = {
    "query": ("embed", "heads"),
    "key": ("embed", "kv_heads"),
    "value": ("embed", "kv_heads"),
    "out": ("heads", "embed"),
    "gate": ("embed", "mlp"),
    "up": ("embed", "mlp"),
    "down": ("mlp", "embed"),
}


def logical_axes(path: str, num_axes: int) -> Axes:
    """The logical axis of each axis of a parameter; None for one that is never cut.

    Args:
      path: of the parameter, keys joined by dots.
      num_axes: of the parameter.

    Returns:
      `num_axes` names.
    """
    part, *_, kind = keys = path.split(".")
    stacked: Axes = ("layer",) if ".layers." in path else ()
    if path == "decoder.embedding.embedding":
        return ("vocab", "embed")
    if path == "decoder.lm_head.kernel":
        return ("embed", "vocab")
    if part == "adapters":
        inputs, outputs = MATRICES[keys[-2]]
        return ("layer", inputs, None) if kind == "a" else ("layer", None, outputs)
    whole = (None,) * (num_axes - len(stacked))
    if part != "decoder":
        # Frozen, and gathered for use: it only matters that they are spread evenly.
        return stacked + (whole[1:] + ("vision",) if kind == "kernel" else whole)
    if kind == "kernel":
        return stacked + MATRICES[keys[-2]]
    if kind == "bias":
        return stacked + MATRICES[keys[-2]][1:]
    return stacked + whole


def placed_by(partition: Partition) -> Place:
    """Where the rules put each parameter, by its path and shape."""

    def place(path: str, shape: tuple[int, ...]) -> NamedSharding:
        return partition.sharding(*logical_axes(path, len(shape)))

    return place


def param_shardings(
    config: ModelConfig, partition: Partition, *, lora: LoraConfig | None = None
) -> dict:
    """The place of every parameter: the tree of `abstract_params`."""
    return with_paths(
        lambda path, leaf: placed_by(partition)(path, leaf.shape),
        abstract_params(config, lora=lora),
    )


def with_paths(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """`function` of the path, keys joined by dots, and of the value of each leaf."""
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: function(name(path), leaf), tree
    )


def check_partition(config: ModelConfig, partition: Partition) -> None:
    """Whether a model can be cut along a mesh.

    Raises:
      InputError: an axis does not divide; names each, and what would do.
    """
    text = config.text
    sizes = {
        "embed": [("hidden_size", text.hidden_size)],
        "heads": [("num_heads", text.num_heads)],
        "kv_heads": [("num_kv_heads", text.num_kv_heads)],
        "mlp": [("mlp_size", text.mlp_size)],
        "vocab": [("vocab_size with its padding", text.embedding_rows)],
        "layer": [("num_layers", text.num_layers)],
    }
    if config.vision is not None:
        sizes["vision"] = list(_vision_sizes(config.vision, text.hidden_size))
    partition.check(sizes)


def _vision_sizes(vision: VisionConfig, embed: int) -> Iterator[tuple[str, int]]:
    yield "vision hidden_size", vision.hidden_size
    yield "vision mlp_size", vision.mlp_size
    yield "projector's width", embed
