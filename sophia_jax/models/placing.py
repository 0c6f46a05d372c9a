"""Weights from files straight to their places on the devices, a piece at a time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.weights import (
    Layout,
    Weight,
    file_rows,
    from_file,
    get_param,
    row_runs,
    tensor_names,
    weight_table,
)
from sophia_jax.types import Array, Track, untracked

__all__ = ["Place", "ReadRows", "place_weights"]

PIECE_BYTES = 64 << 20  # of a file that are on the way to a device at a time

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

    Beyond the parameters, a few pieces of `PIECE_BYTES` are held at a time.

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
            device: jnp.zeros(_sizes(index, shape_of[path]), dtype, device=device)
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
    total = sum(piece.nbytes for piece in pieces)
    for piece in track(pieces, "weights", total, size_of=lambda piece: piece.nbytes):
        share = shares[piece.path]
        rows = _cut(read(piece.name, piece.rows), piece)
        filled = _filled(
            share.pop(piece.device),
            jax.device_put(rows, piece.device),
            piece.start,
            transposed=piece.weight.layout == "transposed",
        )
        # Without waiting, the pieces of a whole model would queue up in memory.
        share[piece.device] = filled.block_until_ready()
    params: dict = {}
    for path, share in shares.items():
        array = jax.make_array_from_single_device_arrays(
            shape_of[path], sharding_of[path], list(share.values())
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


def _sizes(index: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
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
    """What the device holds of them: only this is sent."""
    if piece.weight.layout == "patches":
        return from_file(rows, piece.weight)[piece.others]
    return rows[(slice(None), *piece.others)]


@functools.partial(jax.jit, donate_argnums=0, static_argnames="transposed")
def _filled(
    share: Array, rows: Array, start: tuple[int, ...], *, transposed: bool
) -> Array:
    """The share with some rows of a tensor, turned and converted on the device."""
    rows = (rows.T if transposed else rows).astype(share.dtype)
    rows = rows.reshape((1,) * (share.ndim - rows.ndim) + rows.shape)
    return jax.lax.dynamic_update_slice(share, rows, start)
