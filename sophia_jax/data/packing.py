"""Sequence packing: many examples in few rows, none of them cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import chex
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.data.prompts import index_image_tokens
from sophia_jax.types import Array, InputError

__all__ = ["Buckets", "Example", "PackedBatch", "bucket_size", "pack_examples"]

Place = tuple[int, int]  # an example's row, and its first token there


class Buckets(NamedTuple):
    """Steps of `bucket_size` by which a batch's shapes grow: few shapes, few programs.

    Attributes:
      rows: of packed tokens.
      targets: tokens of the longest answer.
      tiles: of all pictures together.
    """

    rows: int = 4
    targets: int = 32
    tiles: int = 16


BUCKETS = Buckets()


@dataclass(frozen=True)
class Example:
    """One prompt and the answer to learn.

    Attributes:
      prompt_ids: Int32[token], with a placeholder for each image token.
      target_ids: Int32[token], the end token included.
      images: Float32[tile ...]: the tiles of all its pictures in turn, as pixels (tile
        height width channel) or as features (tile image_token embed); None without.
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

    @property
    def num_tiles(self) -> int:
        return 0 if self.images is None else len(self.images)


@chex.dataclass(frozen=True)
class PackedBatch:
    """Examples packed into rows, of one static shape for each bucket.

    Attributes:
      token_ids: Int32[row token]
      positions: Int32[row token], from 0 in each example.
      segment_ids: Int32[row token], the number of the example, from 1; 0 is padding.
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
    buckets: Buckets = BUCKETS,
    num_sequences: int | None = None,
) -> PackedBatch:
    """Pack examples into rows of `row_length` tokens, the longest first.

    Args:
      examples: none is cut; each may carry pictures or not, those that do all as
        pixels or all as features.
      config: of the model that will read them.
      row_length: tokens in a row.
      buckets: how the batch's shapes are rounded up, so that batches share programs.
      num_sequences: pad to this many sequences; None for as many as there are.

    Returns:
      One batch on the host.

    Raises:
      InputError: an example is longer than a row, lacks a prompt or a target, or its
        placeholders and its image tokens differ in number; or tiles differ in shape.
      ValueError: there are no examples, or more than `num_sequences`.
    """
    num_sequences = len(examples) if num_sequences is None else num_sequences
    if not 0 < len(examples) <= num_sequences:
        raise ValueError(
            f"examples: expected between 1 and {num_sequences}, got {len(examples)}"
        )
    for number, example in enumerate(examples):
        _check(number, example, config)
    places = assign_rows([example.length for example in examples], row_length)
    reward = np.zeros(num_sequences, np.float32)
    reward[: len(examples)] = [example.reward for example in examples]
    return PackedBatch(
        **_fill_rows(examples, places, row_length, config, buckets.rows),
        **_index_targets(examples, places, row_length, num_sequences, buckets.targets),
        images=_stack_tiles(examples, buckets.tiles),
        reward=reward,
    )


def bucket_size(number: int, step: int) -> int:
    """The size to which a number of things is padded, so that few programs arise.

    The next multiple of `step` or, where that is larger, of a quarter of the power of
    two at or below `number`; so at most four sizes lie between two powers of two, and
    a size beyond 4 steps is padded by less than a quarter.
    """
    power_of_two = 1 << max(number.bit_length() - 1, 0)
    step = max(step, power_of_two // 4)
    return -(-number // step) * step


def assign_rows(lengths: Sequence[int], row_length: int) -> list[Place]:
    """First fit, longest first: for each example its row and its first token there."""
    places: list[Place] = [(0, 0)] * len(lengths)
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


def _check(number: int, example: Example, config: ModelConfig) -> None:
    if not len(example.prompt_ids) or not len(example.target_ids):
        raise InputError(
            f"example {number}: expected tokens in prompt and target, got "
            f"{len(example.prompt_ids)} and {len(example.target_ids)}"
        )
    if example.num_tiles and config.vision is None:
        raise InputError(
            f"example {number}: expected no pictures for a text-only model, got "
            f"{example.num_tiles} tiles"
        )
    image_tokens = example.num_tiles * config.tokens_per_tile
    placeholders = np.sum(example.prompt_ids == config.image_token_id)
    if placeholders != image_tokens:
        raise InputError(
            f"example {number}: expected {image_tokens} image placeholders for "
            f"{example.num_tiles} tiles, got {placeholders}"
        )
    if np.any(example.target_ids == config.image_token_id):
        raise InputError(f"example {number}: expected no image placeholder to learn")


def _fill_rows(
    examples: Sequence[Example],
    places: Sequence[Place],
    row_length: int,
    config: ModelConfig,
    step: int,
) -> dict[str, np.ndarray]:
    """What the decoder reads."""
    num_rows = bucket_size(1 + max(row for row, _ in places), step)
    shape = (num_rows, row_length)
    token_ids, positions, segment_ids = (np.zeros(shape, np.int32) for _ in range(3))
    image_index = np.full(shape, -1, np.int32)
    num_tiles = 0
    for number, (example, (row, start)) in enumerate(
        zip(examples, places, strict=True)
    ):
        place = (row, slice(start, start + example.length))
        ids = np.concatenate([example.prompt_ids, example.target_ids[:-1]])
        token_ids[place] = ids
        positions[place] = np.arange(example.length)
        segment_ids[place] = number + 1
        image_index[place] = index_image_tokens(ids, config, first_tile=num_tiles)
        num_tiles += example.num_tiles
    return {
        "token_ids": token_ids,
        "positions": positions,
        "segment_ids": segment_ids,
        "image_index": image_index,
    }


def _index_targets(
    examples: Sequence[Example],
    places: Sequence[Place],
    row_length: int,
    num_sequences: int,
    step: int,
) -> dict[str, np.ndarray]:
    """What is predicted, and from where: a token from the place before its own."""
    longest = max(len(example.target_ids) for example in examples)
    shape = (num_sequences, bucket_size(longest, step))
    target_index, target_ids = (np.zeros(shape, np.int32) for _ in range(2))
    target_mask = np.zeros(shape, bool)
    for number, (example, (row, start)) in enumerate(
        zip(examples, places, strict=True)
    ):
        length = len(example.target_ids)
        first = row * row_length + start + len(example.prompt_ids) - 1
        target_index[number, :length] = first + np.arange(length)
        target_ids[number, :length] = example.target_ids
        target_mask[number, :length] = True
    return {
        "target_index": target_index,
        "target_ids": target_ids,
        "target_mask": target_mask,
    }


def _stack_tiles(examples: Sequence[Example], step: int) -> np.ndarray | None:
    """All tiles in the order of the examples, padded with zeros."""
    tiles = [example.images for example in examples if example.num_tiles]
    if not tiles:
        return None
    shapes = sorted({images.shape[1:] for images in tiles})
    if len(shapes) > 1:
        raise InputError(
            f"images: expected tiles of one shape in a batch, got {shapes}"
        )
    num_tiles = bucket_size(sum(map(len, tiles)), step)
    stacked = np.zeros((num_tiles, *shapes[0]), tiles[0].dtype)
    np.concatenate(tiles, out=stacked[: sum(map(len, tiles))])
    return stacked
