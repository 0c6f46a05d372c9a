"""Weights from storage to their places, and from one layout to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.config import ModelConfig
from sophia_jax.models import moving, placing
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.weight_table import weight_table
from sophia_jax.models.weights import get_param
from sophia_jax.planning.compiling import Program, shard_bytes

__all__ = ["Reading", "fill_program", "move_program", "moved_bytes", "reading"]


@dataclass(frozen=True)
class Reading:
    """What one host does to load a model.

    Attributes:
      read_bytes: from storage, in bfloat16; rows that several of its chips need a part
        of are read for each.
      staging_bytes: of the host's memory, beside the weights.
    """

    read_bytes: int
    staging_bytes: int


def fill_program(params: dict) -> Program:
    """Put a piece of a weight into the largest share that a chip holds.

    Args:
      params: abstract weights with their places.
    """
    leaves = jax.tree.leaves(params)
    shapes = [leaf.sharding.shard_shape(leaf.shape) for leaf in leaves]
    sizes = [math.prod(shape) for shape in shapes]
    largest = sizes.index(max(sizes))
    device = leaves[largest].sharding.mesh.devices.flat[0]
    place = jax.sharding.SingleDeviceSharding(device)
    shape = shapes[largest]
    share = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place)
    rows = max(1, placing.PIECE_BYTES // (share.dtype.itemsize * shape[-1]))
    rows = min(rows, shape[-2])
    piece = jax.ShapeDtypeStruct((rows, shape[-1]), jnp.bfloat16, sharding=place)
    start = (0,) * len(shape)
    total = sum(sizes) * share.dtype.itemsize
    # All shares are there from the start; this program is given one of them.
    return Program(
        lambda: placing._filled.lower(share, piece, start),
        {"weights": total, "inputs": placing.WORKERS * placing.PIECE_BYTES},
        beside=total - shard_bytes(share) + (placing.WORKERS - 1) * placing.PIECE_BYTES,
    )


def reading(config: ModelConfig, params: dict, chips: Sequence[jax.Device]) -> Reading:
    """What the host of some chips reads.

    Args:
      config: the model's.
      params: abstract weights with their places.
      chips: of the host.
    """
    shapes = abstract_params(config)
    own, read_bytes = set(chips), 0
    for weight in weight_table(config, "transformers"):
        for part, path in enumerate(weight.paths):
            shape = get_param(shapes, path).shape
            sharding = get_param(params, path).sharding
            for device, index in sharding.devices_indices_map(shape).items():
                if device not in own:
                    continue
                whole = tuple(
                    slice(*axis.indices(size))
                    for axis, size in zip(index, shape, strict=True)
                )
                read_bytes += _row_bytes(weight, part, device, whole, config, shapes)
    staging = placing.WORKERS * placing.PIECE_BYTES * 2  # as read, and as turned
    return Reading(read_bytes, staging)


def moved_bytes(there: dict, here: dict) -> int:
    """What a chip receives when weights move: its new share, less what it has of it.

    Args:
      there, here: abstract weights with their new and their present places.
    """
    return shard_bytes(there) - min(shard_bytes(there), shard_bytes(here))


def move_program(there: dict, here: dict) -> Program:
    """Put some layers of the largest weight into its new place.

    Beside it stand the weights that have moved, and its own old share.

    Args:
      there, here: as of `moved_bytes`.
    """
    leaves, old = jax.tree.leaves(there), jax.tree.leaves(here)
    sizes = [shard_bytes(leaf) for leaf in leaves]
    largest = sizes.index(max(sizes))
    whole = leaves[largest]
    rows = max(
        1, moving.CHUNK_BYTES // (whole.size * whole.dtype.itemsize // len(whole))
    )
    chunk = jax.ShapeDtypeStruct(
        (min(rows, len(whole)), *whole.shape[1:]), whole.dtype, sharding=whole.sharding
    )
    place = jax.sharding.NamedSharding(
        whole.sharding.mesh, jax.sharding.PartitionSpec()
    )
    first = jax.ShapeDtypeStruct((), jnp.int32, sharding=place)
    # Each weight is given up once it has moved, so no chip holds more than these.
    beside = sum(sizes) - sizes[largest] + shard_bytes(old[largest])
    return Program(
        lambda: moving._filled.lower(whole, chunk, first),
        {
            "weights": sum(sizes) + shard_bytes(old[largest]),
            "inputs": shard_bytes(chunk),
        },
        beside=beside,
    )


def _row_bytes(weight, part, device, index, config, shapes) -> int:
    """Of all rows that a chip's share of a parameter is cut from."""
    shape = get_param(shapes, weight.paths[part]).shape[weight.stacked :]
    row = math.prod(shape) // shape[weight.row_axis % len(shape)]
    pieces = placing._pieces(weight, part, device, index, config, shapes, jnp.bfloat16)
    rows = sum(piece.rows.stop - piece.rows.start for piece in pieces)
    return rows * row * jnp.dtype(jnp.bfloat16).itemsize
