"""Named tensors of a model folder: safetensors files only, never pickled weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sophia_jax.models.ranged_safetensors import (
    ByteRange,
    read_remote_headers,
    read_remote_rows,
)
from sophia_jax.paths import is_remote, whole_file, write_whole
from sophia_jax.types import InputError

__all__ = [
    "TensorHeader",
    "read_file_headers",
    "read_headers",
    "read_json",
    "read_rows",
    "read_tensor",
    "write_file",
    "write_tensors",
]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SHARD_BYTES = 5 * 10**9
_PARTIAL = "{}.partial"


@dataclass(frozen=True)
class TensorHeader:
    """What a file says about one of its tensors.

    Attributes:
      file: where it is stored.
      shape: its sizes.
      dtype: in the format's spelling: "F32", "BF16", ...
      place: of its bytes, where the file is in a bucket.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str
    place: ByteRange | None = None


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


def read_headers(
    folder: Path,
) -> tuple[dict[str, TensorHeader], list[str], set[str]]:
    """Every tensor of a folder by name; no tensor is read.

    Args:
      folder: with `model.safetensors`, or with an index and the files that it names.

    Returns:
      Headers by tensor name; one phrase for each of several files that is missing or
      damaged, or that lacks what the index says is in it; and the names of what is said
      to be in the former.

    Raises:
      InputError: there is no such file, only pickled weights, or one damaged file.

    Reference: https://huggingface.co/docs/safetensors.
    """
    headers, problems, unread = {}, [], set()
    for file, promised in _files(folder).items():
        try:
            found = read_file_headers(file)
        except InputError as error:
            if not promised:
                raise
            problems.append(str(error).removeprefix(f"{folder}/"))
            unread |= promised
            continue
        problems += [
            f"{file.name}: expected {name}, as the index says"
            for name in sorted(promised - found.keys())
        ]
        problems += [
            f"{file.name}: {name} is in {headers[name].file.name} too"
            for name in sorted(found.keys() & headers.keys())
        ]
        headers |= found
    return headers, problems, unread


def read_file_headers(file: Path) -> dict[str, TensorHeader]:
    """Every tensor of one file by name; no tensor is read.

    Raises:
      InputError: there is no such file, or it is damaged.
    """
    if is_remote(file):
        places = read_remote_headers(file)
        return {
            name: TensorHeader(file, place.shape, place.dtype, place)
            for name, place in places.items()
        }
    with _opened(file) as tensors:
        views = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (no mapping)
        return {
            name: TensorHeader(file, tuple(view.get_shape()), view.get_dtype())
            for name, view in views.items()
        }


def read_rows(name: str, header: TensorHeader, rows: slice = slice(None)) -> np.ndarray:
    """Some rows of a tensor, in the dtype in which it is stored.

    Raises:
      InputError: the file has been damaged.
    """
    if header.place is not None:
        return read_remote_rows(header.file, header.place, rows)
    with _opened(header.file) as tensors:
        return tensors.get_slice(name)[rows]


def read_tensor(name: str, header: TensorHeader) -> np.ndarray:
    """One tensor, in the dtype in which it is stored.

    Raises:
      InputError: the file has been damaged.
    """
    if header.place is not None:
        return read_remote_rows(header.file, header.place, slice(None))
    with _opened(header.file) as tensors:
        return tensors.get_tensor(name)


def write_tensors(
    tensors: Iterable[tuple[str, np.ndarray]],
    folder: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write tensors into an existing folder, with an index if they fill several files.

    One file's tensors are held at a time.

    Args:
      tensors: names and arrays.
      folder: where the files go.
      shard_bytes: most bytes of tensors in one file; a larger tensor is alone in its.

    Raises:
      OSError: the files cannot be written.
    """
    files: list[list[str]] = []
    shard: dict[str, np.ndarray] = {}
    total = 0

    def write_shard() -> None:
        write_file(shard, folder / _PARTIAL.format(len(files)))
        files.append(list(shard))
        shard.clear()

    for name, tensor in tensors:
        if (
            shard
            and sum(t.nbytes for t in shard.values()) + tensor.nbytes > shard_bytes
        ):
            write_shard()
        shard[name] = tensor
        total += tensor.nbytes
    write_shard()
    if len(files) == 1:
        (folder / _PARTIAL.format(0)).rename(folder / SINGLE)
        return
    weight_map = {}
    for number, names in enumerate(files):
        file = f"model-{number + 1:05d}-of-{len(files):05d}.safetensors"
        (folder / _PARTIAL.format(number)).rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    write_whole(folder / INDEX, json.dumps(index, indent=2) + "\n")


def write_file(tensors: dict[str, np.ndarray], file: Path) -> None:
    """Write tensors into one file.

    Raises:
      OSError: it cannot be written.
    """
    if is_remote(file):
        with whole_file(file) as temporary:
            write_file(tensors, temporary)
        return
    # The writer replaces the file by one that only its owner may read.
    file.touch()
    mode = file.stat().st_mode
    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{file}: {error}") from error
    file.chmod(mode)


def _files(folder: Path) -> dict[Path, set[str]]:
    """The files of a model, each with the tensors that an index says are in it."""
    if (folder / SINGLE).exists():
        return {folder / SINGLE: set()}
    if (folder / INDEX).exists():
        return _indexed_files(folder / INDEX)
    pickled = sorted(file.name for kind in PICKLED for file in folder.glob(kind))
    if pickled:
        raise InputError(
            f"{folder}: expected {SINGLE}, got pickled weights only "
            f"({', '.join(pickled)}), which can run code: convert them to safetensors"
        )
    raise InputError(f"{folder}: expected {SINGLE} or {INDEX}, got neither")


def _indexed_files(index: Path) -> dict[Path, set[str]]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{index}: weight_map: expected tensor names, got none")
    files: dict[Path, set[str]] = {}
    for tensor, name in sorted(weight_map.items(), key=lambda entry: str(entry[1])):
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(
                f"{index}: weight_map: expected files of this folder, got {name!r}"
            )
        files.setdefault(index.parent / name, set()).add(tensor)
    return files


def _opened(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{file}: expected a whole safetensors file ({error})"
        ) from error
