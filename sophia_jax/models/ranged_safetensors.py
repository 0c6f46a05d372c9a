"""Safetensors files in a bucket, read by ranges of bytes: they cannot be mapped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from sophia_jax.paths import read_range
from sophia_jax.types import InputError

__all__ = ["ByteRange", "read_remote_headers", "read_remote_rows"]

LENGTH_BYTES = 8  # of the header's own length, little-endian, before it
MAX_HEADER = 100 * 10**6  # as in the safetensors library
DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


@dataclass(frozen=True)
class ByteRange:
    """Where a tensor stands in its file: from `start` to before `end`."""

    shape: tuple[int, ...]
    dtype: str
    start: int
    end: int


def read_remote_headers(file: Path) -> dict[str, ByteRange]:
    """The tensors of a file by name; none of them is read.

    Args:
      file: in a bucket.

    Returns:
      Their shapes and places.

    Raises:
      InputError: there is no such file, or it is damaged or cut off.

    Reference: https://huggingface.co/docs/safetensors, "Format".
    """
    try:
        size = file.stat().length
        begin = LENGTH_BYTES + _header_length(read_range(file, 0, LENGTH_BYTES), size)
        header = json.loads(read_range(file, LENGTH_BYTES, begin))
        header.pop("__metadata__", None)
        ranges = {name: _range(name, each, begin) for name, each in header.items()}
        if max((each.end for each in ranges.values()), default=begin) != size:
            raise ValueError(f"its tensors do not end where it does, at byte {size}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{file}: expected a whole safetensors file ({error})"
        ) from error
    return ranges


def read_remote_rows(file: Path, place: ByteRange, rows: slice) -> np.ndarray:
    """Some rows of a tensor, in the dtype in which it is stored; no others are sent.

    Args:
      file: in a bucket.
      place: of the tensor.
      rows: of its first axis, one after the other.

    Raises:
      InputError: the file is not there any more, or has been damaged.
    """
    start, end, shape = place.start, place.end, place.shape
    if shape:
        first, last, _ = rows.indices(shape[0])
        bytes_per_row = (end - start) // max(shape[0], 1)
        shape = (max(last - first, 0), *shape[1:])
        start += first * bytes_per_row
        end = start + shape[0] * bytes_per_row
    try:
        content = read_range(file, start, end) if end > start else b""
        return np.frombuffer(content, DTYPES[place.dtype]).reshape(shape)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: expected a whole safetensors file ({error})"
        ) from error


def _header_length(content: bytes, size: int) -> int:
    length = int.from_bytes(content, "little")
    if len(content) < LENGTH_BYTES or length > min(MAX_HEADER, size - LENGTH_BYTES):
        raise ValueError(f"a header of {length} bytes in {size}")
    return length


def _range(name: str, entry: Mapping[str, Any], begin: int) -> ByteRange:
    """A tensor's place, whose size follows from its shape."""
    dtype, shape = entry["dtype"], tuple(map(int, entry["shape"]))
    first, last = map(int, entry["data_offsets"])
    if dtype not in DTYPES:
        raise ValueError(f"{name}: a dtype among {', '.join(DTYPES)}, not {dtype!r}")
    num_bytes = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if min((*shape, first)) < 0 or last - first != num_bytes:
        raise ValueError(f"{name}: {num_bytes} bytes, not {first} to {last}")
    return ByteRange(shape, dtype, begin + first, begin + last)
