"""Models from and to Hugging Face folders."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.models.hf_config import (
    config_from_hf,
    config_to_hf,
    tiles_from_hf,
    tiles_to_hf,
)
from sophia_jax.models.internvl import model_graph
from sophia_jax.models.model import Model
from sophia_jax.models.safetensors import (
    TensorHeader,
    read_headers,
    read_json,
    read_tensor,
    write_tensors,
)
from sophia_jax.models.tokenizer import IMAGE_CONTEXT, load_tokenizer
from sophia_jax.models.weights import (
    file_names,
    from_hf,
    head_names,
    mismatches,
    to_hf,
)
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

__all__ = ["load_model", "save_model"]

CONFIG, GENERATION = "config.json", "generation_config.json"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
DOWNLOADED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")  # never code


def load_model(
    path_or_repo: str | Path,
    *,
    mesh: jax.sharding.Mesh | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> Model:
    """Load a Qwen2.5 or InternVL model in the format of transformers.

    Only safetensors are read, one tensor at a time; no code of the folder is run.

    Args:
      path_or_repo: a model folder, or `owner/name` of one on the Hugging Face Hub.
      mesh: whose devices each hold every weight; None is JAX's default device.
      dtype: of the weights.

    Returns:
      The model.

    Raises:
      InputError: there is no such folder, or it does not hold one whole model of a
        kind that is implemented; the message names all that does not fit.

    Reference: https://huggingface.co/docs/transformers/model_doc/internvl.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"dtype: expected a floating type, got {jnp.dtype(dtype)}")
    folder = _local_folder(path_or_repo)
    values = read_json(folder / CONFIG)
    config = config_from_hf(values, str(folder / CONFIG))
    headers = read_headers(folder)
    if "tie_word_embeddings" not in values:
        config = _with_stored_head(config, headers)
    tokenizer = load_tokenizer(folder)
    tiles = None if config.vision is None else _read_tiles(folder)
    headers, problems = _without_tied_head(config, headers)
    problems += mismatches(config, headers) + _conflicts(config, tokenizer, tiles)
    if problems:
        raise InputError(f"{folder}: {'; '.join(problems)}")
    names = file_names(config, headers)

    def read(name: str) -> np.ndarray:
        return read_tensor(names[name], headers[names[name]])

    params = from_hf(read, config, dtype=dtype, place=_placement(mesh))
    return Model(config, model_graph(config), params, tokenizer, tiles)


def save_model(model: Model, path: str | Path) -> None:
    """Write a folder that `load_model` and transformers read as the same model.

    The folder appears when it is complete, or not at all.

    Args:
      model: what to write, in the dtype of its weights.
      path: of a folder that does not exist yet.

    Raises:
      InputError: there is something at `path`, it cannot be written, or the format
        cannot say what the configuration does.
    """
    target = Path(path)
    if target.exists():
        raise InputError(f"{target}: expected a folder that does not exist, got one")
    dtype = jax.tree.leaves(model.params)[0].dtype.name
    files = {CONFIG: config_to_hf(model.config, dtype=dtype)}
    ids = {"eos": model.tokenizer.eos_token_id, "pad": model.tokenizer.pad_token_id}
    files[GENERATION] = {
        f"{name}_token_id": id_ for name, id_ in ids.items() if id_ is not None
    }
    if model.tiles is not None:
        files[PREPROCESSOR] = tiles_to_hf(model.tiles)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        temporary.mkdir(parents=True)
        model.tokenizer.save_pretrained(temporary)
        for name, values in files.items():
            (temporary / name).write_text(json.dumps(values, indent=2) + "\n")
        write_tensors(to_hf(model.params, model.config), temporary)
        temporary.rename(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _local_folder(path_or_repo: str | Path) -> Path:
    folder = Path(path_or_repo)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(path_or_repo)):
        raise InputError(f"{path_or_repo}: expected a model folder or owner/name")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                str(path_or_repo), allow_patterns=list(DOWNLOADED)
            )
        )
    # Every error of the hub is one of these two.
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path_or_repo}: expected a model folder or a repository on the "
            f"Hugging Face Hub ({reason})"
        ) from error


def _read_tiles(folder: Path) -> TileGeometry:
    file = folder / PREPROCESSOR
    if not file.exists() and (folder / PROCESSOR).exists():
        file = folder / PROCESSOR
        values = read_json(file).get("image_processor")
        if not isinstance(values, dict):
            raise InputError(f"{file}: image_processor: expected an object, got none")
        return tiles_from_hf(values, str(file))
    return tiles_from_hf(read_json(file), str(file))


def _with_stored_head(
    config: ModelConfig, headers: dict[str, TensorHeader]
) -> ModelConfig:
    """A configuration silent about its head: it is tied unless one is stored."""
    stored = head_names(config)[1] in file_names(config, headers)
    text = config.text
    return dataclasses.replace(
        config, text=dataclasses.replace(text, tied_head=text.tied_head and not stored)
    )


def _without_tied_head(
    config: ModelConfig, headers: dict[str, TensorHeader]
) -> tuple[dict[str, TensorHeader], list[str]]:
    """The headers without a copy of the embedding that stands in for a tied head."""
    names = file_names(config, headers)
    embedding, head = (names.get(name) for name in head_names(config))
    if not config.text.tied_head or head is None or embedding is None:
        return headers, []
    others = {name: header for name, header in headers.items() if name != head}
    if headers[embedding].shape == headers[head].shape and np.array_equal(
        read_tensor(embedding, headers[embedding]), read_tensor(head, headers[head])
    ):
        return others, []
    rule = f"expected {embedding}, since tie_word_embeddings is true"
    return others, [f"{head}: {rule}, got other values"]


def _conflicts(
    config: ModelConfig, tokenizer: Any, tiles: TileGeometry | None
) -> list[str]:
    """Where the tokenizer or the tiles do not fit the configuration."""
    problems = []
    vocabulary = tokenizer.get_vocab()
    largest = max(vocabulary.values())
    if largest >= config.text.vocab_size:
        problems.append(
            f"tokenizer: expected ids below vocab_size={config.text.vocab_size}, "
            f"got {largest}"
        )
    if config.vision is None:
        return problems
    placeholder = vocabulary.get(IMAGE_CONTEXT)
    if placeholder != config.image_token_id:
        problems.append(
            f"image_token_id: expected the tokenizer's {IMAGE_CONTEXT}={placeholder}, "
            f"got {config.image_token_id}"
        )
    if tiles.tile_size != config.vision.image_size:
        problems.append(
            f"size: expected image_size={config.vision.image_size}, "
            f"got {tiles.tile_size}"
        )
    return problems


def _placement(mesh: jax.sharding.Mesh | None):
    if mesh is None:
        return jnp.asarray
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return functools.partial(jax.device_put, device=replicated)
