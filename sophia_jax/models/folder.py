"""Models from and to Hugging Face folders."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.models.chat import template_name
from sophia_jax.models.checkpoint_folder import (
    checkpoint_description,
    is_checkpoint,
    load_checkpoint,
)
from sophia_jax.models.folder_contents import (
    CONFIG,
    GENERATION,
    PREPROCESSOR,
    local_folder,
    read_contents,
)
from sophia_jax.models.hf_config import config_to_hf, tiles_to_hf
from sophia_jax.models.internvl import model_graph
from sophia_jax.models.logical_axes import check_partition, placed_by
from sophia_jax.models.model import Model, check_merged
from sophia_jax.models.original_config import original_config_to_hf
from sophia_jax.models.placing import Place, place_weights
from sophia_jax.models.safetensors import read_headers, read_rows, write_tensors
from sophia_jax.models.tokenizer import load_tokenizer
from sophia_jax.models.weight_table import Layout
from sophia_jax.models.weights import file_names, to_hf
from sophia_jax.paths import as_path, is_whole, uploaded, whole_folder, write_whole
from sophia_jax.sharding import TRAINING, Partition, ShardingRules
from sophia_jax.sharding.together import is_first, wait_for_all
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError, Track, untracked

__all__ = [
    "check_layout",
    "describe_model",
    "load_model",
    "on_one_device",
    "save_model",
    "stored_dtype",
]

DTYPES = {"F32": jnp.float32, "BF16": jnp.bfloat16, "F16": jnp.float16}


def load_model(
    path_or_repo: str | Path,
    *,
    mesh: jax.sharding.Mesh | None = None,
    rules: ShardingRules = TRAINING,
    place: Place | None = None,
    vocab_multiple: int | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
    track: Track = untracked,
) -> Model:
    """Load an InternVL model, in either of its layouts, or a text-only decoder.

    Decoders are those of Qwen2.5, Qwen3 (dense), Llama without scaling of its own, and
    InternLM2. Only safetensors are read, straight to their places and a piece at a
    time; all files are checked before. No code of the folder is run.

    Args:
      path_or_repo: a model folder, also `gs://BUCKET/...`, or `owner/name` of one on
        the Hugging Face Hub; or an orbax checkpoint of `save_checkpoint`.
      mesh: of `make_mesh`, whose devices share the weights; None is JAX's default
        device.
      rules: how they share them, and how activations will lie.
      place: where each weight goes, by its path and shape, if not by the rules; then
        nothing is said of activations.
      vocab_multiple: embedding and head get rows of zeros up to a multiple of this, so
        that they can be shared out; `save_model` leaves them out again. None is what
        the mesh needs. (A checkpoint keeps its own.)
      dtype: of the weights.
      track: shows how many bytes are loaded, and how fast.

    Returns:
      The model.

    Raises:
      InputError: there is no such folder, or it does not hold one whole model of a
        kind that is implemented, or the mesh does not divide it; the message names all
        that does not fit.

    Reference: https://huggingface.co/docs/transformers/model_doc/internvl,
      https://huggingface.co/OpenGVLab/InternVL3-8B.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"dtype: expected a floating type, got {jnp.dtype(dtype)}")
    folder = local_folder(path_or_repo)
    partition = None if mesh is None or place else Partition(mesh, rules)
    if vocab_multiple is None:
        vocab_multiple = 1 if partition is None else partition.ways("vocab")
    place = place or (placed_by(partition) if partition else on_one_device())
    if is_checkpoint(folder):
        return load_checkpoint(folder, place, dtype=dtype, partition=partition)
    found = read_contents(folder)
    config = _padded(found.config, vocab_multiple)
    if partition is not None:
        check_partition(config, partition)
    names = file_names(config, found.headers, found.layout)

    def read(name: str, rows: slice) -> np.ndarray:
        return read_rows(names[name], found.headers[names[name]], rows)

    params = place_weights(
        read, config, place, layout=found.layout, dtype=dtype, track=track
    )
    return Model(
        config,
        model_graph(config, partition),
        params,
        found.tokenizer,
        found.tiles,
        found.ends,
        partition,
    )


def save_model(
    model: Model, path: str | Path, *, layout: Layout = "transformers"
) -> None:
    """Write a folder that `load_model` reads as the same model.

    In its own layout, transformers reads it too. The folder appears when it is
    complete, or not at all. Of several processes the first one writes, and all must
    call this: each returns when the folder is there.

    Args:
      model: what to write, in the dtype of its weights.
      path: of a folder that does not exist yet, also `gs://BUCKET/...`.
      layout: "transformers", or "original" for what reads `InternVLChatModel`; its
        code is not written.

    Raises:
      InputError: there is something at `path`, it cannot be written, or the format
        cannot say what the configuration does.
      ValueError: the model has adapters.
    """
    target = as_path(path)
    if is_whole(target):
        raise InputError(f"{target}: expected a folder that does not exist, got one")
    wait_for_all(f"a look at {target.name}")  # or one would see what another wrote
    check_merged(model)
    if not is_first():
        for _ in to_hf(model.params, model.config, layout):
            pass  # its share goes to the one that writes
        wait_for_all(f"the folder {target.name}")
        return
    files = _settings(
        model.config, model.tiles, model.tokenizer, layout, model.dtype.name
    )
    ends, pad = model.end_ids, model.tokenizer.pad_token_id
    files[GENERATION] = {"eos_token_id": list(ends) if ends[1:] else ends[0]}
    if pad is not None:
        files[GENERATION]["pad_token_id"] = pad
    try:
        with whole_folder(target) as folder:
            with uploaded(folder) as local:
                model.tokenizer.save_pretrained(local)
            write_tensors(to_hf(model.params, model.config, layout), folder)
            # Without config.json, which is the last of them, no folder is a model's.
            for name in sorted(files, key=lambda name: name == CONFIG):
                write_whole(folder / name, json.dumps(files[name], indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error})") from error
    wait_for_all(f"the folder {target.name}")


def check_layout(path_or_repo: str | Path, layout: Layout) -> None:
    """Whether `save_model` could write a model in a layout; no weight is read.

    Raises:
      InputError: it could not, or there is no such model.
    """
    model = describe_model(path_or_repo)
    _settings(model.config, model.tiles, model.tokenizer, layout, "float32")


def describe_model(path_or_repo: str | Path) -> Model:
    """A model without its weights: `params` is empty. All files are checked.

    Raises:
      InputError: as `load_model`.
    """
    folder = local_folder(path_or_repo)
    if is_checkpoint(folder):
        config, tiles, _, ends = checkpoint_description(folder)
        tokenizer = load_tokenizer(folder)
    else:
        found = read_contents(folder)
        config, tiles, ends = found.config, found.tiles, found.ends
        tokenizer = found.tokenizer
    return Model(config, model_graph(config), {}, tokenizer, tiles, ends)


def stored_dtype(path_or_repo: str | Path) -> jnp.dtype:
    """The dtype in which a model's weights are stored.

    Raises:
      InputError: there is no such model, or its weights have several dtypes.
    """
    folder = local_folder(path_or_repo)
    if is_checkpoint(folder):
        return checkpoint_description(folder)[2]
    headers, problems, _ = read_headers(folder)
    found = {header.dtype for header in headers.values()}
    if problems:
        raise InputError(f"{folder}: {'; '.join(problems)}")
    if len(found) != 1 or not found <= DTYPES.keys():
        raise InputError(
            f"{folder}: expected weights of one dtype, {' or '.join(DTYPES)}, got "
            f"{', '.join(sorted(found)) or 'none'}"
        )
    return jnp.dtype(DTYPES[found.pop()])


def on_one_device() -> Place:
    """Every weight on JAX's default device."""
    there = jax.sharding.SingleDeviceSharding(jnp.zeros(()).device)
    return lambda path, shape: there


def _settings(
    config: ModelConfig,
    tiles: TileGeometry | None,
    tokenizer: Any,
    layout: Layout,
    dtype: str,
) -> dict[str, dict]:
    """The files that say what a model is and how it sees pictures, by their names."""
    if layout == "original":
        template = template_name(tokenizer)
        return {
            CONFIG: original_config_to_hf(config, tiles, dtype=dtype, template=template)
        }
    files = {CONFIG: config_to_hf(config, dtype=dtype)}
    if tiles is not None:
        files[PREPROCESSOR] = tiles_to_hf(tiles)
    return files


def _padded(config: ModelConfig, vocab_multiple: int) -> ModelConfig:
    try:
        text = dataclasses.replace(config.text, vocab_multiple=vocab_multiple)
    except ValueError as error:
        raise InputError(str(error)) from error
    return dataclasses.replace(config, text=text)
