"""All of a model folder but the weights: found, read, and checked."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.models.hf_config import config_from_hf, tiles_from_hf
from sophia_jax.models.original_config import ORIGINAL_KINDS, original_config
from sophia_jax.models.original_tiles import tiles_from_internvl_config
from sophia_jax.models.problems import Problems
from sophia_jax.models.safetensors import (
    TensorHeader,
    read_headers,
    read_json,
    read_rows,
)
from sophia_jax.models.tokenizer import IMAGE_CONTEXT, load_tokenizer
from sophia_jax.models.weight_table import Layout
from sophia_jax.models.weights import file_names, head_names, mismatches
from sophia_jax.paths import as_path, is_remote, is_whole
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

__all__ = [
    "CONFIG",
    "GENERATION",
    "PREPROCESSOR",
    "FolderContents",
    "local_folder",
    "read_contents",
]

CONFIG, GENERATION = "config.json", "generation_config.json"
PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
DOWNLOADED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model")  # never code
ROWS_COMPARED = 1024


def local_folder(path_or_repo: str | Path) -> Path:
    """The folder itself, or where a repository of the Hub has been downloaded to.

    The Hub's own cache and its offline switch (HF_HUB_OFFLINE) hold. No code is
    downloaded.

    Raises:
      InputError: there is neither, or the folder is not whole yet.
    """
    folder = as_path(path_or_repo)
    if folder.is_dir():
        if not is_whole(folder):
            raise InputError(f"{folder}: expected a whole model, got a part of one")
        return folder
    if is_remote(folder):
        raise InputError(f"{folder}: expected a model folder, got none")
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


@dataclasses.dataclass(frozen=True)
class FolderContents:
    """All of a model but its weights."""

    config: ModelConfig
    layout: Layout
    headers: dict[str, TensorHeader]
    tokenizer: Any
    tiles: TileGeometry | None
    ends: tuple[int, ...]


def read_contents(folder: Path) -> FolderContents:
    """Read everything but the weights, and check it.

    Args:
      folder: of a model, in either layout.

    Returns:
      What was read.

    Raises:
      InputError: something does not fit; the message names all of it.
    """
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
    return FolderContents(config, layout, headers, tokenizer, tiles, ends)


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
