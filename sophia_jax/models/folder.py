"""Models from and to Hugging Face folders."""

from __future__ import annotations

import dataclasses
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
from sophia_jax.models.chat import template_name
from sophia_jax.models.checkpoint_folder import (
    checkpoint_description,
    is_checkpoint,
    load_checkpoint,
)
from sophia_jax.models.hf_config import (
    config_from_hf,
    config_to_hf,
    tiles_from_hf,
    tiles_to_hf,
)
from sophia_jax.models.internvl import model_graph
from sophia_jax.models.model import Model
from sophia_jax.models.original_config import (
    ORIGINAL_KINDS,
    original_config,
    original_config_to_hf,
)
from sophia_jax.models.original_tiles import tiles_from_internvl_config
from sophia_jax.models.placing import Place, place_weights
from sophia_jax.models.problems import Problems
from sophia_jax.models.safetensors import (
    TensorHeader,
    read_headers,
    read_json,
    read_rows,
    write_tensors,
)
from sophia_jax.models.tokenizer import IMAGE_CONTEXT, load_tokenizer
from sophia_jax.models.weights import (
    Layout,
    file_names,
    head_names,
    mismatches,
    to_hf,
)
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError, Track, untracked

__all__ = [
    "check_layout",
    "load_model",
    "local_folder",
    "replicated",
    "save_model",
    "stored_dtype",
]

CONFIG, GENERATION = "config.json", "generation_config.json"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
ROWS_COMPARED = 1024
DTYPES = {"F32": jnp.float32, "BF16": jnp.bfloat16, "F16": jnp.float16}
DOWNLOADED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")  # never code


def load_model(
    path_or_repo: str | Path,
    *,
    mesh: jax.sharding.Mesh | None = None,
    place: Place | None = None,
    vocab_multiple: int = 1,
    dtype: jax.typing.DTypeLike = jnp.float32,
    track: Track = untracked,
) -> Model:
    """Load an InternVL model, in either of its layouts, or a text-only decoder.

    Decoders are those of Qwen2.5, Qwen3 (dense), Llama without scaling of its own, and
    InternLM2. Only safetensors are read, straight to their places and a piece at a
    time; all files are checked before. No code of the folder is run.

    Args:
      path_or_repo: a model folder, or `owner/name` of one on the Hugging Face Hub; or
        an orbax checkpoint of `save_checkpoint`.
      mesh: whose devices each hold every weight; None is JAX's default device.
      place: where each weight goes, by its path and shape; None as `mesh` says.
      vocab_multiple: embedding and head get rows of zeros up to a multiple of this, so
        that they can be shared out; `save_model` leaves them out again. (A checkpoint
        keeps its own.)
      dtype: of the weights.
      track: shows how many bytes are loaded, and how fast.

    Returns:
      The model.

    Raises:
      InputError: there is no such folder, or it does not hold one whole model of a
        kind that is implemented; the message names all that does not fit.

    Reference: https://huggingface.co/docs/transformers/model_doc/internvl,
      https://huggingface.co/OpenGVLab/InternVL3-8B.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"dtype: expected a floating type, got {jnp.dtype(dtype)}")
    folder = local_folder(path_or_repo)
    place = place or replicated(mesh)
    if is_checkpoint(folder):
        return load_checkpoint(folder, place, dtype=dtype)
    found = _read_folder(folder)
    config = _padded(found.config, vocab_multiple)
    names = file_names(config, found.headers, found.layout)

    def read(name: str, rows: slice) -> np.ndarray:
        return read_rows(names[name], found.headers[names[name]], rows)

    params = place_weights(
        read, config, place, layout=found.layout, dtype=dtype, track=track
    )
    return Model(
        config, model_graph(config), params, found.tokenizer, found.tiles, found.ends
    )


def save_model(
    model: Model, path: str | Path, *, layout: Layout = "transformers"
) -> None:
    """Write a folder that `load_model` reads as the same model.

    In its own layout, transformers reads it too. The folder appears when it is
    complete, or not at all.

    Args:
      model: what to write, in the dtype of its weights.
      path: of a folder that does not exist yet.
      layout: "transformers", or "original" for what reads `InternVLChatModel`; its
        code is not written.

    Raises:
      InputError: there is something at `path`, it cannot be written, or the format
        cannot say what the configuration does.
    """
    target = Path(path)
    if target.exists():
        raise InputError(f"{target}: expected a folder that does not exist, got one")
    dtype = jax.tree.leaves(model.params)[0].dtype.name
    files = _settings(model.config, model.tiles, model.tokenizer, layout, dtype)
    ends, pad = model.end_ids, model.tokenizer.pad_token_id
    files[GENERATION] = {"eos_token_id": list(ends) if ends[1:] else ends[0]}
    if pad is not None:
        files[GENERATION]["pad_token_id"] = pad
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        temporary.mkdir(parents=True)
        model.tokenizer.save_pretrained(temporary)
        for name, values in files.items():
            (temporary / name).write_text(json.dumps(values, indent=2) + "\n")
        write_tensors(to_hf(model.params, model.config, layout), temporary)
        temporary.rename(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_layout(path_or_repo: str | Path, layout: Layout) -> None:
    """Whether `save_model` could write a model in a layout; no weight is read.

    Raises:
      InputError: it could not, or there is no such model.
    """
    folder = local_folder(path_or_repo)
    if is_checkpoint(folder):
        config, tiles, _, _ = checkpoint_description(folder)
        tokenizer = load_tokenizer(folder)
    else:
        found = _read_folder(folder)
        config, tiles, tokenizer = found.config, found.tiles, found.tokenizer
    _settings(config, tiles, tokenizer, layout, "float32")


def local_folder(path_or_repo: str | Path) -> Path:
    """The folder itself, or where a repository of the Hub has been downloaded to.

    The Hub's own cache and its offline switch (HF_HUB_OFFLINE) hold. No code is
    downloaded.

    Raises:
      InputError: there is neither.
    """
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


@dataclasses.dataclass(frozen=True)
class _Folder:
    """All of a model but its weights."""

    config: ModelConfig
    layout: Layout
    headers: dict[str, TensorHeader]
    tokenizer: Any
    tiles: TileGeometry | None
    ends: tuple[int, ...]


def _read_folder(folder: Path) -> _Folder:
    """Read and check everything but the weights, and tell all that does not fit."""
    values = read_json(folder / CONFIG)
    original = values.get("model_type") in ORIGINAL_KINDS
    layout: Layout = "original" if original else "transformers"
    problems = Problems(folder)
    tokenizer = problems.attempt(load_tokenizer, folder)
    where = str(folder / CONFIG)
    if original:
        config = problems.attempt(original_config, values, where, tokenizer)
    else:
        config = problems.attempt(config_from_hf, values, where)
    headers, damaged, unread = problems.attempt(read_headers, folder) or ({}, [], set())
    problems.found += damaged
    tiles = None
    if "vision_config" in values:
        tiles = problems.attempt(_read_tiles, folder, values, original)
    ends = problems.attempt(_other_end_ids, folder, tokenizer)
    if config is not None and headers:
        if "tie_word_embeddings" not in values.get("llm_config", values):
            config = _with_stored_head(config, headers, layout)
        headers, untied = _without_tied_head(config, headers, layout)
        problems.found += untied
        problems.found += mismatches(config, headers, layout, unread=unread)
    if None not in (config, tokenizer):
        problems.found += _conflicts(config, tokenizer, tiles)
    problems.refuse()
    return _Folder(config, layout, headers, tokenizer, tiles, ends)


def replicated(mesh: jax.sharding.Mesh | None) -> Place:
    """Every weight whole on each device of a mesh, or on JAX's default device."""
    if mesh is None:
        everywhere = jax.sharding.SingleDeviceSharding(jnp.zeros(()).device)
    else:
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return lambda path, shape: everywhere


def _other_end_ids(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """Ends of an answer that the generation settings name beside the template's.

    Ordinary tokens are passed over: these are left over from another model's defaults.
    """
    file = folder / GENERATION
    found = read_json(file).get("eos_token_id") if file.exists() else None
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if any(type(id_) is not int or id_ < 0 for id_ in ids):
        raise InputError(f"{file}: eos_token_id: expected token ids, got {found!r}")
    added = tokenizer.added_tokens_decoder
    special = [id_ for id_ in dict.fromkeys(ids) if id_ in added and added[id_].special]
    return tuple(id_ for id_ in special if id_ != tokenizer.eos_token_id)


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


def _read_tiles(folder: Path, values: dict, original: bool) -> TileGeometry:
    if original:
        # The preprocessor's file of the original folders is not what its code reads.
        return tiles_from_internvl_config(values, str(folder / CONFIG))
    file = folder / PREPROCESSOR
    if not file.exists() and (folder / PROCESSOR).exists():
        file = folder / PROCESSOR
        values = read_json(file).get("image_processor")
        if not isinstance(values, dict):
            raise InputError(f"{file}: image_processor: expected an object, got none")
        return tiles_from_hf(values, str(file))
    return tiles_from_hf(read_json(file), str(file))


def _with_stored_head(
    config: ModelConfig, headers: dict[str, TensorHeader], layout: Layout
) -> ModelConfig:
    """A configuration silent about its head: it is tied unless one is stored."""
    stored = head_names(config, layout)[1] in file_names(config, headers, layout)
    text = config.text
    return dataclasses.replace(
        config, text=dataclasses.replace(text, tied_head=text.tied_head and not stored)
    )


def _without_tied_head(
    config: ModelConfig, headers: dict[str, TensorHeader], layout: Layout
) -> tuple[dict[str, TensorHeader], list[str]]:
    """The headers without a copy of the embedding that stands in for a tied head."""
    names = file_names(config, headers, layout)
    embedding, head = (names.get(name) for name in head_names(config, layout))
    if not config.text.tied_head or head is None or embedding is None:
        return headers, []
    others = {name: header for name, header in headers.items() if name != head}
    if _equal(embedding, headers[embedding], head, headers[head]):
        return others, []
    rule = f"expected {embedding}, since tie_word_embeddings is true"
    return others, [f"{head}: {rule}, got other values"]


def _equal(
    first: str, first_header: TensorHeader, second: str, second_header: TensorHeader
) -> bool:
    """Whether two tensors are one, compared a few rows at a time."""
    if first_header.shape != second_header.shape:
        return False
    num_rows = first_header.shape[0]
    blocks = (
        slice(start, min(start + ROWS_COMPARED, num_rows))
        for start in range(0, num_rows, ROWS_COMPARED)
    )
    return all(
        np.array_equal(
            read_rows(first, first_header, rows), read_rows(second, second_header, rows)
        )
        for rows in blocks
    )


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
    if tiles is not None and tiles.tile_size != config.vision.image_size:
        problems.append(
            f"size: expected image_size={config.vision.image_size}, "
            f"got {tiles.tile_size}"
        )
    return problems
