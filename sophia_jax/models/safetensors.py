"""Named tensors of a model folder: safetensors files only, never pickled weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sophia_jax.types import InputError

__all__ = ["TensorHeader", "read_headers", "read_json", "read_tensor", "write_tensors"]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True)
class TensorHeader:
    """What a file says about one of its tensors.

    Attributes:
      file: where it is stored.
      shape: its sizes.
      dtype: in the format's spelling: "F32", "BF16", ...
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str


def read_json(file: Path) -> dict:
    """The object that a JSON file holds.

    Raises:
      InputError: the file is missing or holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected a readable JSON file ({error})") from error
    if not isinstance(value, dict):
        raise InputError(
            f"{file}: expected a JSON object, got a {type(value).__name__}"
        )
    return value


def read_headers(folder: Path) -> dict[str, TensorHeader]:
    """Every tensor of a folder by name; no tensor is read.

    Args:
      folder: with `model.safetensors`, or with an index and the files that it names.

    Returns:
      Headers by tensor name.

    Raises:
      InputError: there is no such file, only pickled weights, or a damaged file.

    Reference: https://huggingface.co/docs/safetensors.
    """
    headers = {}
    for file in _files(folder):
        with _opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                view = tensors.get_slice(name)
                headers[name] = TensorHeader(
                    file, tuple(view.get_shape()), view.get_dtype()
                )
    return headers


def read_tensor(name: str, header: TensorHeader) -> np.ndarray:
    """One tensor, in the dtype in which it is stored.

    Raises:
      InputError: the file has been damaged.
    """
    with _opened(header.file) as tensors:
        return tensors.get_tensor(name)


def write_tensors(
    tensors: Mapping[str, np.ndarray], folder: Path, *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write tensors into an existing folder, with an index if they fill several files.

    Args:
      tensors: by name.
      folder: where the files go.
      shard_bytes: most bytes of tensors in one file; a larger tensor is alone in its.

    Raises:
      OSError: the files cannot be written.
    """
    shards: list[dict[str, np.ndarray]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    if len(shards) == 1:
        _write_file(shards[0], folder / SINGLE)
        return
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(shard, folder / file)
        weight_map |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _write_file(tensors: dict[str, np.ndarray], file: Path) -> None:
    # The writer replaces the file by one that only its owner may read.
    file.touch()
    mode = file.stat().st_mode
    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{file}: {error}") from error
    file.chmod(mode)


def _files(folder: Path) -> list[Path]:
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    if (folder / INDEX).exists():
        return _indexed_files(folder / INDEX)
    pickled = sorted(file.name for kind in PICKLED for file in folder.glob(kind))
    if pickled:
        raise InputError(
            f"{folder}: expected {SINGLE}, got pickled weights only "
            f"({', '.join(pickled)}), which can run code: convert them to safetensors"
        )
    raise InputError(f"{folder}: expected {SINGLE} or {INDEX}, got neither")


def _indexed_files(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{index}: weight_map: expected tensor names, got none")
    names = sorted(set(map(str, weight_map.values())))
    for name in names:
        if Path(name).name != name:
            raise InputError(
                f"{index}: weight_map: expected files of this folder, got {name!r}"
            )
    return [index.parent / name for name in names]


def _opened(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{file}: expected a whole safetensors file ({error})"
        ) from error
