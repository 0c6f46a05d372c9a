"""Weights from files straight to their places on the devices, a piece at a time."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.weight_table import Layout, Weight, weight_table
from sophia_jax.models.weights import (
    file_rows,
    get_param,
    patches_from_file,
    row_runs,
    tensor_names,
)
from sophia_jax.types import Array, Track, untracked

__all__ = ["Place", "ReadRows", "place_weights"]

PIECE_BYTES = 4 << 20  # of weights that a worker brings to a device at a time
WORKERS = min(4, os.cpu_count() or 1)
TURNED_ROWS = 32
ALIGNMENT = 64  # bytes, of memory that XLA uses on a CPU

ReadRows = Callable[[str, slice], np.ndarray]
"""(name of `weight_table`, rows) -> those rows of the tensor, in the file's dtype."""

Place = Callable[[str, tuple[int, ...]], jax.sharding.Sharding]
"""(path of a parameter, its shape) -> where it goes."""


@dataclass(frozen=True)
class _Piece:
    """Rows of one tensor that go into one device's share of one parameter.

    Attributes:
      path: the parameter's.
      device: whose share.
      weight: the tensor's.
      name: of the tensor.
      rows: of the tensor.
      others: what the device holds of our other axes, layers apart.
      start: where the piece goes in the share.
      nbytes: of the piece, in the parameters' dtype.
    """

    path: str
    device: jax.Device
    weight: Weight
    name: str
    rows: slice
    others: tuple[slice, ...]
    start: tuple[int, ...]
    nbytes: int


def place_weights(
    read: ReadRows,
    config: ModelConfig,
    place: Place,
    *,
    layout: Layout = "transformers",
    dtype: jax.typing.DTypeLike = jnp.float32,
    track: Track = untracked,
) -> dict:
    """Parameters of a model, of which each device's share is read by itself.

    Beyond the parameters, each of `WORKERS` threads holds a piece of `PIECE_BYTES`.

    Args:
      read: gives rows of the tensors of `weight_table(config, layout)`.
      config: the model's.
      place: where each parameter goes; of several hosts, each reads what is its own.
      layout: whose names the tensors have.
      dtype: of the parameters.
      track: shows how many bytes there are, and how fast they come.

    Returns:
      The nested dict of `init_params(key, config)`.
    """
    shapes = abstract_params(config)
    paths = [path for w in weight_table(config, layout) for path in w.paths]
    shape_of = {path: get_param(shapes, path).shape for path in paths}
    sharding_of = {path: place(path, shape_of[path]) for path in paths}
    shares = {
        path: {
            device: _share(_sizes(index), dtype, device)
            for device, index in _indices(sharding_of[path], shape_of[path])
        }
        for path in paths
    }
    pieces = [
        piece
        for weight in weight_table(config, layout)
        for part, path in enumerate(weight.paths)
        for device, index in _indices(sharding_of[path], shape_of[path])
        for piece in _pieces(weight, part, device, index, config, shapes, dtype)
    ]

    def fill(piece: _Piece) -> _Piece:
        values = _cut(read(piece.name, piece.rows), piece)
        shares[piece.path][piece.device].put(values, piece.start)
        return piece

    total = sum(piece.nbytes for piece in pieces)
    with ThreadPoolExecutor(WORKERS) as workers:
        filled = workers.map(fill, pieces)
        for _ in track(filled, "weights", total, size_of=lambda piece: piece.nbytes):
            pass
    params: dict = {}
    for path in paths:
        array = jax.make_array_from_single_device_arrays(
            shape_of[path],
            sharding_of[path],
            [share.array() for share in shares.pop(path).values()],
        )
        *parents, last = path.split(".")
        tree = params
        for key in parents:
            tree = tree.setdefault(key, {})
        tree[last] = array
    return params


def _indices(
    sharding: jax.sharding.Sharding, shape: tuple[int, ...]
) -> list[tuple[jax.Device, tuple[slice, ...]]]:
    """What each device of this process holds."""
    found = sharding.addressable_devices_indices_map(shape).items()
    return [
        (
            device,
            tuple(
                slice(*axis.indices(size))
                for axis, size in zip(index, shape, strict=True)
            ),
        )
        for device, index in found
    ]


def _sizes(index: tuple[slice, ...]) -> tuple[int, ...]:
    return tuple(axis.stop - axis.start for axis in index)


def _pieces(
    weight: Weight,
    part: int,
    device: jax.Device,
    index: tuple[slice, ...],
    config: ModelConfig,
    shapes: dict,
    dtype: jax.typing.DTypeLike,
) -> Iterator[_Piece]:
    """What a device holds of one of a weight's parameters, in the files' order."""
    names = tensor_names(weight, shapes)
    layers = index[0] if weight.stacked else slice(0, 1)
    axes = index[weight.stacked :]
    row_axis = weight.row_axis % len(axes)
    wanted = axes[row_axis]
    others = (*axes[:row_axis], *axes[row_axis + 1 :])
    row_bytes = math.prod(axis.stop - axis.start for axis in others)
    row_bytes *= jnp.dtype(dtype).itemsize
    most = max(1, PIECE_BYTES // row_bytes)
    counts = file_rows(weight, shapes, config)
    for layer in range(layers.start, layers.stop):
        runs = row_runs(weight, part, counts, wanted.start, wanted.stop)
        for ours, theirs, count in runs:
            for offset in range(0, count, most):
                rows = min(most, count - offset)
                start = [0] * len(axes)
                start[row_axis] = ours + offset - wanted.start
                if weight.stacked:
                    start.insert(0, layer - layers.start)
                yield _Piece(
                    weight.paths[part],
                    device,
                    weight,
                    names[layer],
                    slice(theirs + offset, theirs + offset + rows),
                    others,
                    tuple(start),
                    rows * row_bytes,
                )


def _cut(rows: np.ndarray, piece: _Piece) -> np.ndarray:
    """What the device holds of them, as ours has it: only this is sent."""
    if piece.weight.layout == "patches":
        return patches_from_file(rows)[piece.others]
    held = rows[(slice(None), *piece.others)]
    return _turned(held) if piece.weight.layout == "transposed" else held


def _turned(rows: np.ndarray) -> np.ndarray:
    """The transposed matrix, copied a few rows at a time, which caches hold."""
    bits = rows.view(f"u{rows.itemsize}")
    turned = np.empty(bits.shape[::-1], bits.dtype)
    for first in range(0, len(bits), TURNED_ROWS):
        turned[:, first : first + TURNED_ROWS] = bits[first : first + TURNED_ROWS].T
    return turned.view(rows.dtype)


class _Share:
    """What a device holds of a parameter, zeros at first, on the device itself."""

    def __init__(
        self, shape: tuple[int, ...], dtype: jax.typing.DTypeLike, device: jax.Device
    ):
        self._device = device
        self._array = jnp.zeros(shape, dtype, device=device)
        self._lock = threading.Lock()

    def put(self, values: np.ndarray, start: tuple[int, ...]) -> None:
        """Fill in a piece; several threads may do so."""
        on_device = jax.device_put(values, self._device)
        with self._lock:
            filled = _filled(self._array, on_device, start)
            # Waited for, or the pieces of a whole model would queue up in memory.
            self._array = filled.block_until_ready()

    def array(self) -> Array:
        """The whole share."""
        return self._array


class _HostShare(_Share):
    """The same in memory of this process, which a CPU device takes over as it stands.

    For the sake of one piece, XLA on a CPU would convert all of a bfloat16 share.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: jax.typing.DTypeLike, device: jax.Device
    ):
        self._device = device
        size = math.prod(shape) * jnp.dtype(dtype).itemsize
        memory = np.zeros(size + ALIGNMENT, np.uint8)
        first = -memory.ctypes.data % ALIGNMENT
        self._held = memory[first : first + size].view(dtype).reshape(shape)

    def put(self, values: np.ndarray, start: tuple[int, ...]) -> None:
        values = values.reshape((1,) * (self._held.ndim - values.ndim) + values.shape)
        place = zip(start, values.shape, strict=True)
        self._held[tuple(slice(first, first + size) for first, size in place)] = values

    def array(self) -> Array:
        return jax.device_put(self._held, self._device)


def _share(
    shape: tuple[int, ...], dtype: jax.typing.DTypeLike, device: jax.Device
) -> _Share:
    kind = _HostShare if device.platform == "cpu" else _Share
    return kind(shape, dtype, device)


@functools.partial(jax.jit, donate_argnums=0)
def _filled(share: Array, values: Array, start: tuple[int, ...]) -> Array:
    values = values.astype(share.dtype)
    values = values.reshape((1,) * (share.ndim - values.ndim) + values.shape)
    return jax.lax.dynamic_update_slice(share, values, start)
