"""Sizes of a packed batch, and larger ones: hosts that pack alone, step together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from sophia_jax.data.packing import PackedBatch

__all__ = ["BatchSizes", "batch_sizes", "pad_batch"]

TILE_DTYPES = (np.dtype(np.float32), np.dtype(jnp.bfloat16), np.dtype(np.float16))


class BatchSizes(NamedTuple):
    """Numbers that say a batch's shapes, of one shard of one part.

    Attributes:
      rows: of packed tokens.
      tokens: of a row.
      sequences: of a shard.
      targets: tokens of the longest answer.
      learnt: tokens of all answers together.
      tiles: of pictures; 0 for none.
      tile_dtype: from 1, a place in `TILE_DTYPES`; 0 for none.
      tile_height, tile_width, tile_depth: a tile's axes, or those of its features.
    """

    rows: int
    tokens: int
    sequences: int
    targets: int
    learnt: int
    tiles: int = 0
    tile_dtype: int = 0
    tile_height: int = 0
    tile_width: int = 0
    tile_depth: int = 0


def batch_sizes(batch: PackedBatch) -> BatchSizes:
    """The sizes of a batch of `pack_parts`."""
    _, num_shards, learnt = batch.learnt.shape
    _, rows, tokens = batch.token_ids.shape
    _, sequences, targets = batch.target_ids.shape
    tiles = ()
    if batch.images is not None:
        _, num_tiles, *axes = batch.images.shape
        dtype = 1 + TILE_DTYPES.index(batch.images.dtype)
        tiles = num_tiles // num_shards, dtype, *axes
    return BatchSizes(
        rows // num_shards, tokens, sequences // num_shards, targets, learnt, *tiles
    )


def pad_batch(batch: PackedBatch, sizes: BatchSizes) -> PackedBatch:
    """The same batch in larger arrays: what is added is padding.

    Args:
      batch: of `pack_parts`, on the host.
      sizes: none smaller than the batch's own.

    Returns:
      A batch of those sizes, with as many parts and shards.

    Raises:
      ValueError: a size is smaller, or tiles are of another kind.
    """
    before = batch_sizes(batch)
    if before == sizes:
        return batch
    if any(new < old for old, new in zip(before, sizes, strict=True)):
        raise ValueError(f"sizes: expected none below {before}, got {sizes}")
    if before.tiles and before[6:] != sizes[6:]:
        raise ValueError(f"sizes: expected the tiles of {before}, got {sizes}")
    num_parts, num_shards, _ = batch.learnt.shape

    def padded(array: np.ndarray, *shape: int, value: int = 0) -> np.ndarray:
        """Each shard in the corner of one of another shape."""
        shards = array.reshape(num_parts, num_shards, -1, *array.shape[2:])
        larger = np.full((num_parts, num_shards, *shape), value, array.dtype)
        larger[(slice(None), slice(None), *map(slice, shards.shape[2:]))] = shards
        return larger.reshape(num_parts, -1, *shape[1:])

    rows = sizes.rows, sizes.tokens
    targets = sizes.sequences, sizes.targets
    return PackedBatch(
        token_ids=padded(batch.token_ids, *rows),
        positions=padded(batch.positions, *rows),
        segment_ids=padded(batch.segment_ids, *rows),
        image_index=padded(batch.image_index, *rows, value=-1),
        images=_padded_tiles(batch, sizes, padded),
        target_index=padded(
            _moved(batch.target_index, before.tokens, sizes.tokens), *targets
        ),
        target_ids=padded(batch.target_ids, *targets),
        target_mask=padded(batch.target_mask, *targets),
        learnt=_padded_learnt(batch.learnt, before, sizes),
        reward=padded(batch.reward, sizes.sequences),
        behavior_log_prob=padded(batch.behavior_log_prob, sizes.sequences),
        signals={
            name: padded(array, *targets[: array.ndim - 1])
            for name, array in batch.signals.items()
        },
    )


def _moved(places: np.ndarray, length: int, new_length: int) -> np.ndarray:
    """Places in flattened rows, once the rows are longer."""
    row, column = np.divmod(places, length)
    return (row * new_length + column).astype(places.dtype)


def _padded_learnt(
    learnt: np.ndarray, before: BatchSizes, sizes: BatchSizes
) -> np.ndarray:
    end, new_end = (each.sequences * each.targets for each in (before, sizes))
    moved = np.where(
        learnt < end, _moved(learnt, before.targets, sizes.targets), new_end
    )
    padding = [(0, 0), (0, 0), (0, sizes.learnt - before.learnt)]
    return np.pad(moved, padding, constant_values=new_end).astype(learnt.dtype)


def _padded_tiles(
    batch: PackedBatch, sizes: BatchSizes, padded: Callable[..., np.ndarray]
) -> np.ndarray | None:
    if not sizes.tiles:
        return None
    axes = [axis for axis in sizes[7:] if axis]
    if batch.images is not None:
        return padded(batch.images, sizes.tiles, *axes)
    num_parts, num_shards, _ = batch.learnt.shape
    dtype = TILE_DTYPES[sizes.tile_dtype - 1]
    return np.zeros((num_parts, num_shards * sizes.tiles, *axes), dtype)
