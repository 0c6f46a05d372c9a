"""Several examples in one row: packing with segment ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import chex
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.types import Array, InputError

__all__ = ["Example", "PackedBatch", "pack_examples"]


@dataclass(frozen=True)
class Example:
    """One prompt and the answer to learn.

    Attributes:
      prompt_ids: Int32[token], with a placeholder for each image token.
      target_ids: Int32[token], the end token included.
      images: Float32[tile ...]: the prompt's tiles, as pixels or as features.
      reward: weight of the answer; 1 for plain imitation.
    """

    prompt_ids: np.ndarray
    target_ids: np.ndarray
    images: np.ndarray | None = None
    reward: float = 1.0

    @property
    def length(self) -> int:
        """Tokens that the decoder reads: all but the last, which is only predicted."""
        return len(self.prompt_ids) + len(self.target_ids) - 1


@chex.dataclass(frozen=True)
class PackedBatch:
    """Examples packed into rows, of one static shape for each bucket.

    Attributes:
      token_ids: Int32[row token]
      positions: Int32[row token], from 0 in each segment.
      segment_ids: Int32[row token], from 1 in each row; 0 is padding.
      image_index: Int32[row token], which image token stands here: the tile times the
        tokens per tile plus the token; -1 for text.
      images: Float32[tile ...], pixels (tile height width channel) or features (tile
        image_token embed); None when there are no pictures.
      target_index: Int32[sequence target], the place in the flattened rows from which
        each target token is predicted.
      target_ids: Int32[sequence target]
      target_mask: Bool[sequence target], False on padding.
      reward: Float32[sequence], 0 for sequences that only fill the bucket.
    """

    token_ids: Array
    positions: Array
    segment_ids: Array
    image_index: Array
    images: Array | None
    target_index: Array
    target_ids: Array
    target_mask: Array
    reward: Array


def pack_examples(
    examples: Sequence[Example],
    config: ModelConfig,
    *,
    row_length: int,
    bucket: int = 8,
    num_sequences: int | None = None,
) -> PackedBatch:
    """Pack examples into rows of `row_length` tokens, the longest first.

    Args:
      examples: none is cut; all of them, or none, carry images.
      row_length: tokens in a row.
      bucket: rows and target lengths are rounded up to multiples of this, so that
        batches share compiled programs.
      num_sequences: pad to this many sequences; None for as many as there are.

    Returns:
      One batch on the host.

    Raises:
      InputError: an example is longer than a row, or its placeholders and its image
        tokens differ in number.
    """
    rows = assign_rows([example.length for example in examples], row_length)
    num_rows = round_up(1 + max(row for row, _ in rows), bucket)
    longest = max(len(example.target_ids) for example in examples)
    num_sequences = num_sequences or len(examples)
    shape = (num_rows, row_length)
    token_ids, positions, segment_ids = (np.zeros(shape, np.int32) for _ in range(3))
    image_index = np.full(shape, -1, np.int32)
    target_shape = (num_sequences, round_up(longest, bucket))
    target_index, target_ids = (np.zeros(target_shape, np.int32) for _ in range(2))
    target_mask = np.zeros(target_shape, bool)
    reward = np.zeros(num_sequences, np.float32)
    segments = np.zeros(num_rows, np.int32)
    num_tiles = 0
    for sequence, (example, (row, start)) in enumerate(zip(examples, rows, strict=True)):
        place = slice(start, start + example.length)
        ids = np.concatenate([example.prompt_ids, example.target_ids[:-1]])
        segments[row] += 1
        token_ids[row, place] = ids
        positions[row, place] = np.arange(example.length)
        segment_ids[row, place] = segments[row]
        tiles = 0 if example.images is None else len(example.images)
        is_image = ids == config.image_token_id
        if is_image.sum() != tiles * config.tokens_per_tile:
            raise InputError(
                f"example {sequence}: expected {tiles * config.tokens_per_tile} image "
                f"placeholders for {tiles} tiles, got {is_image.sum()}"
            )
        first = num_tiles * config.tokens_per_tile
        image_index[row, place][is_image] = first + np.arange(is_image.sum())
        num_tiles += tiles
        targets = len(example.target_ids)
        predicted_from = row * row_length + start + len(example.prompt_ids) - 1
        target_index[sequence, :targets] = predicted_from + np.arange(targets)
        target_ids[sequence, :targets] = example.target_ids
        target_mask[sequence, :targets] = True
        reward[sequence] = example.reward
    images = None
    if num_tiles:
        images = np.concatenate([e.images for e in examples if e.images is not None])
        missing = round_up(num_tiles, bucket) - num_tiles
        images = np.pad(images, [(0, missing)] + [(0, 0)] * (images.ndim - 1))
    return PackedBatch(
        token_ids=token_ids,
        positions=positions,
        segment_ids=segment_ids,
        image_index=image_index,
        images=images,
        target_index=target_index,
        target_ids=target_ids,
        target_mask=target_mask,
        reward=reward,
    )


def assign_rows(lengths: Sequence[int], row_length: int) -> list[tuple[int, int]]:
    """First fit, longest first: for each example its row and its first token there."""
    places: list[tuple[int, int]] = [(0, 0)] * len(lengths)
    filled: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if length > row_length:
            raise InputError(
                f"example {index}: expected at most row_length={row_length} tokens, "
                f"got {length}"
            )
        fits = (row for row, used in enumerate(filled) if used + length <= row_length)
        row = next(fits, len(filled))
        if row == len(filled):
            filled.append(0)
        places[index] = (row, filled[row])
        filled[row] += length
    return places


def round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
