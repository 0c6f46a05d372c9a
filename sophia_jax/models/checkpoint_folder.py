"""Models as orbax checkpoints: restored on any mesh, without Hugging Face's names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from sophia_jax.config import ModelConfig, RopeScaling, TextConfig, VisionConfig
from sophia_jax.models.internvl import abstract_params, model_graph
from sophia_jax.models.logical_axes import check_partition
from sophia_jax.models.model import Model, check_merged
from sophia_jax.models.placing import Place
from sophia_jax.models.safetensors import read_json
from sophia_jax.models.tokenizer import load_tokenizer
from sophia_jax.paths import is_whole, resolved, uploaded, whole_folder, write_whole
from sophia_jax.sharding import Partition
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

__all__ = [
    "checkpoint_description",
    "is_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
]

WEIGHTS, MODEL = "weights", "model.json"


def is_checkpoint(folder: Path) -> bool:
    """Whether `save_checkpoint` made a folder."""
    return (folder / MODEL).is_file()


def save_checkpoint(model: Model, path: str | Path) -> None:
    """Write a model as an orbax checkpoint, with its configuration and tokenizer.

    The folder appears when it is complete, or not at all.

    Args:
      model: what to write, in the dtype of its weights.
      path: of a folder that does not exist yet.

    Raises:
      InputError: there is something at `path`, or it cannot be written.
      ValueError: the model has adapters.
    """
    check_merged(model)
    target = resolved(path)
    if is_whole(target):
        raise InputError(f"{target}: expected a folder that does not exist, got one")
    described = {
        "config": dataclasses.asdict(model.config),
        "tiles": None if model.tiles is None else dataclasses.asdict(model.tiles),
        "dtype": model.dtype.name,
        "other_end_ids": list(model.other_end_ids),
    }
    try:
        with whole_folder(target) as folder:
            with uploaded(folder) as local:
                model.tokenizer.save_pretrained(local)
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(folder / WEIGHTS, model.params)
            write_whole(folder / MODEL, json.dumps(described, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error})") from error


def load_checkpoint(
    folder: Path,
    place: Place,
    *,
    dtype: jax.typing.DTypeLike,
    partition: Partition | None = None,
) -> Model:
    """Read what `save_checkpoint` wrote, each device its own share.

    Args:
      folder: of the checkpoint.
      place: where each weight goes.
      dtype: of the weights.
      partition: of the model; its rules are those of `place`.

    Returns:
      The model.

    Raises:
      InputError: the folder is damaged, or of another version, or the mesh does not
        divide the model.
    """
    folder = resolved(folder)
    config, tiles, _, ends = checkpoint_description(folder)
    if partition is not None:
        check_partition(config, partition)

    def abstract(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return jax.ShapeDtypeStruct(
            leaf.shape, jnp.dtype(dtype), sharding=place(name, leaf.shape)
        )

    wanted = jax.tree_util.tree_map_with_path(abstract, abstract_params(config))
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            _check_shapes(checkpointer.metadata(folder / WEIGHTS), wanted, folder)
            params = checkpointer.restore(folder / WEIGHTS, wanted)
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{folder / WEIGHTS}: expected the checkpoint of this model ({reason})"
        ) from error
    tokenizer = load_tokenizer(folder)
    graphdef = model_graph(config, partition)
    return Model(config, graphdef, params, tokenizer, tiles, ends, partition)


def _check_shapes(stored: Any, wanted: dict, folder: Path) -> None:
    """Say of every weight that does not fit how it does not, before one is read."""
    found, expected = (
        {
            jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (stored.item_metadata.tree, wanted)
    )
    differences = [
        f"{name}: expected {expected.get(name, 'nothing')}, "
        f"got {found.get(name, 'nothing')}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    if differences:
        raise InputError(f"{folder / WEIGHTS}: {'; '.join(differences)}")


def checkpoint_description(
    folder: Path,
) -> tuple[ModelConfig, TileGeometry | None, jnp.dtype, tuple[int, ...]]:
    """What `save_checkpoint` wrote beside the weights.

    Returns:
      The configuration, the tiles, the dtype of the weights, and the other end tokens.

    Raises:
      InputError: the description is damaged, or of another version.
    """
    described = read_json(folder / MODEL)
    try:
        tiles = described["tiles"]
        return (
            _config(described["config"]),
            tiles and TileGeometry(**_tuples(tiles)),
            jnp.dtype(described["dtype"]),
            tuple(map(int, described["other_end_ids"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MODEL}: expected a model's description, got another ({error})"
        ) from error


def _config(values: dict[str, Any]) -> ModelConfig:
    text, vision = values["text"], values["vision"]
    scaling = text["rope_scaling"] and RopeScaling(**text["rope_scaling"])
    return ModelConfig(
        **values
        | {
            "text": TextConfig(**text | {"rope_scaling": scaling}),
            "vision": vision and VisionConfig(**vision),
        }
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """The fields, with tuples where JSON has lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
    }
