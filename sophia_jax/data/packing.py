"""Sequence packing: many examples in few rows, none of them cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import numpy as np

from sophia_jax.config import ModelConfig
from sophia_jax.data.examples import Example, Group, check_example, members
from sophia_jax.data.prompts import index_image_tokens
from sophia_jax.data.rows import Place, bucket_size, choose_rows, deal
from sophia_jax.types import Array, InputError

__all__ = [
    "Buckets",
    "Example",
    "Group",
    "PackedBatch",
    "bucket_size",
    "pack_examples",
    "pack_parts",
]


class Buckets(NamedTuple):
    """Steps by which a batch's shapes grow: few shapes, few programs.

    Attributes:
      rows: of packed tokens; over several devices, a multiple of their number.
      tokens: of a row, of `choose_rows`; the others are of `bucket_size`.
      sequences: of a part.
      targets: tokens of the longest answer.
      learnt: tokens of all answers together.
      tiles: of all pictures together.
    """

    rows: int = 1
    tokens: int = 64
    sequences: int = 8
    targets: int = 128
    learnt: int = 512
    tiles: int = 32


BUCKETS = Buckets()


@chex.dataclass(frozen=True)
class PackedBatch:
    """Examples packed into rows, of one static shape for each bucket.

    The parts of `pack_parts` are stacked: each array then has a leading axis, part.
    Rows, tiles and sequences come in equal shards, one for each share of the mesh; all
    indices count within their shard, so that no device asks for what another holds.

    Attributes:
      token_ids: Int32[row token]
      positions: Int32[row token], from 0 in each example.
      segment_ids: Int32[row token], the number of the example, from 1; 0 is padding.
      image_index: Int32[row token], which image token of the shard stands here: the
        tile times the tokens per tile plus the token; -1 for text.
      images: Float32[tile ...], pixels (tile height width channel) or features (tile
        image_token embed); None when there are no pictures.
      target_index: Int32[sequence target], the place in the shard's flattened rows
        from which each target token is predicted.
      target_ids: Int32[sequence target]
      target_mask: Bool[sequence target], False on padding.
      learnt: Int32[shard learnt], the places in the shard's flattened targets that are
        no padding; one past their end where it is padding itself.
      reward: Float32[sequence], 0 for sequences that only fill the bucket.
      behavior_log_prob: Float32[sequence], log μ of a whole answer, in nats; nan where
        it is not known.
      signals: Float32[sequence target] or Float32[sequence] by name, of
        `Example.signals`; 0 on padding.
    """

    token_ids: Array
    positions: Array
    segment_ids: Array
    image_index: Array
    images: Array | None
    target_index: Array
    target_ids: Array
    target_mask: Array
    learnt: Array
    reward: Array
    behavior_log_prob: Array
    signals: dict[str, Array]


def pack_examples(
    examples: Sequence[Group],
    config: ModelConfig,
    *,
    row_length: int,
    buckets: Buckets = BUCKETS,
    num_sequences: int | None = None,
) -> PackedBatch:
    """Pack examples into rows of at most `row_length` tokens, the longest first.

    Args:
      examples: none is cut; each may carry pictures or not, those that do all as
        pixels or all as features. Members of a group are neighbours among the batch's
        sequences, and groups of one size begin at its multiples.
      config: of the model that will read them.
      row_length: the most tokens that a row may have.
      buckets: how the batch's shapes are rounded up, so that batches share programs.
      num_sequences: pad to this many sequences; None for as many as there are.

    Returns:
      One batch on the host.

    Raises:
      InputError: an example is longer than a row, lacks a prompt or a target, or its
        placeholders and its image tokens differ in number; tiles differ in shape, or
        signals in name or kind.
      ValueError: there are no examples, or more than `num_sequences`; or groups differ
        in size.
    """
    _check_groups(examples)
    flat = [example for group in examples for example in members(group)]
    num_sequences = len(flat) if num_sequences is None else num_sequences
    if not 0 < len(flat) <= num_sequences:
        raise ValueError(
            f"examples: expected between 1 and {num_sequences}, got {len(flat)}"
        )
    packed = _pack([flat], config, row_length, buckets, num_sequences)
    return jax.tree.map(lambda array: array[0], _in_shards(packed, 1))


def pack_parts(
    examples: Sequence[Group],
    config: ModelConfig,
    *,
    num_parts: int,
    row_length: int,
    num_shards: int = 1,
    buckets: Buckets = BUCKETS,
    some_empty: bool = False,
    least_sequences: int = 0,
) -> PackedBatch:
    """Pack examples into parts of one shape, whose gradients are summed in turn.

    Args:
      examples: dealt to the parts and their shards, so that these are alike in tokens;
        groups, as of `pack_examples`, whole.
      config: of the model that will read them.
      num_parts: whose gradients are summed.
      row_length: the most tokens that a row may have.
      num_shards: of each part, which devices hold side by side.
      buckets: how the parts' shapes are rounded up.
      some_empty: allow fewer examples than parts and their shards, of which the rest
        then hold padding alone.
      least_sequences: pad each shard of a part to as many, where numbers vary from
        batch to batch; the rest of the shapes still follow the examples.

    Returns:
      One batch on the host, each array with a leading axis for the part.

    Raises:
      InputError: as of `pack_examples`.
      ValueError: there are no examples, or fewer than parts and their shards; or groups
        differ in size.
    """
    size = _check_groups(examples)
    most = num_parts * num_shards if some_empty and examples else len(examples)
    if num_parts < 1 or num_shards < 1 or num_parts * num_shards > most:
        shards = f" of {num_shards} shards" if num_shards != 1 else ""
        raise ValueError(
            f"num_parts: expected between 1 and the {len(examples)} examples, "
            f"got {num_parts}{shards}"
        )
    lengths = [sum(each.length for each in members(group)) for group in examples]
    dealt = deal(lengths, num_parts * num_shards)
    parts = [[x for index in part for x in members(examples[index])] for part in dealt]
    fullest = max(least_sequences, *map(len, parts))
    num_sequences = bucket_size(fullest, buckets.sequences)
    num_sequences = -(-num_sequences // size) * size
    packed = _pack(parts, config, row_length, buckets, num_sequences)
    return _in_shards(packed, num_shards)


def _check_groups(examples: Sequence[Group]) -> int:
    """The size of all groups."""
    sizes = {len(members(group)) for group in examples}
    if len(sizes) > 1:
        raise ValueError(f"examples: expected groups of one size, got {sorted(sizes)}")
    return max(sizes, default=1)


def _in_shards(packed: Sequence[dict], num_shards: int) -> PackedBatch:
    """Parts with their shards side by side, the parts stacked."""

    def stacked(*arrays: np.ndarray) -> np.ndarray:
        return np.stack(arrays).reshape(-1, num_shards, *arrays[0].shape)

    def side_by_side(array: np.ndarray) -> np.ndarray:
        return array.reshape(len(array), -1, *array.shape[3:])

    fields = jax.tree.map(stacked, *packed)
    learnt = fields.pop("learnt")
    return PackedBatch(**jax.tree.map(side_by_side, fields), learnt=learnt)


def _pack(
    parts: Sequence[Sequence[Example]],
    config: ModelConfig,
    row_length: int,
    buckets: Buckets,
    num_sequences: int,
) -> list[dict[str, np.ndarray | None]]:
    """The arrays of shards of one shape."""
    everything = [example for part in parts for example in part]
    for number, example in enumerate(everything):
        check_example(number, example, config, row_length)
    num_rows, length, places = choose_rows(
        [[example.length for example in part] for part in parts],
        row_length,
        rows=buckets.rows,
        tokens=buckets.tokens,
    )
    longest = max(len(example.target_ids) for example in everything)
    targets = num_sequences, bucket_size(longest, buckets.targets)
    most = max(sum(len(example.target_ids) for example in part) for part in parts)
    num_tiles = max(sum(example.num_tiles for example in part) for part in parts)
    tiles = _tile_shape(everything, bucket_size(num_tiles, buckets.tiles))
    kinds = _signal_kinds(everything)
    return [
        {
            **_fill_rows(part, where, (num_rows, length), config),
            **_index_targets(
                part, where, length, targets, bucket_size(most, buckets.learnt)
            ),
            "images": _stack_tiles(part, tiles),
            "signals": _fill_signals(part, kinds, targets),
        }
        for part, where in zip(parts, places, strict=True)
    ]


def _fill_rows(
    examples: Sequence[Example],
    places: Sequence[Place],
    shape: tuple[int, int],
    config: ModelConfig,
) -> dict[str, np.ndarray]:
    """What the decoder reads."""
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
    shape: tuple[int, int],
    num_learnt: int,
) -> dict[str, np.ndarray]:
    """What is predicted, and from where: a token from the place before its own."""
    target_index, target_ids = (np.zeros(shape, np.int32) for _ in range(2))
    target_mask, reward = np.zeros(shape, bool), np.zeros(shape[0], np.float32)
    behavior_log_prob = np.full(shape[0], np.nan, np.float32)
    for number, (example, (row, start)) in enumerate(
        zip(examples, places, strict=True)
    ):
        length = len(example.target_ids)
        first = row * row_length + start + len(example.prompt_ids) - 1
        target_index[number, :length] = first + np.arange(length)
        target_ids[number, :length] = example.target_ids
        target_mask[number, :length] = True
        reward[number] = example.reward
        behavior_log_prob[number] = example.behavior_log_prob
    learnt = np.flatnonzero(target_mask).astype(np.int32)
    padding = (0, num_learnt - len(learnt))
    return {
        "target_index": target_index,
        "target_ids": target_ids,
        "target_mask": target_mask,
        "learnt": np.pad(learnt, padding, constant_values=target_mask.size),
        "reward": reward,
        "behavior_log_prob": behavior_log_prob,
    }


def _signal_kinds(examples: Sequence[Example]) -> dict[str, int]:
    """Of each signal whether it is of each token (1) or of the whole answer (0)."""
    kinds = [{n: np.ndim(x) for n, x in each.signals.items()} for each in examples]
    for number, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise InputError(
                f"example {number}: expected signals {kinds[0]} (axes of each), as of "
                f"the first example, got {kind}"
            )
    return kinds[0]


def _fill_signals(
    examples: Sequence[Example], kinds: dict[str, int], shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    signals = {
        name: np.zeros(shape if axes else shape[:1], np.float32)
        for name, axes in kinds.items()
    }
    for number, example in enumerate(examples):
        for name, axes in kinds.items():
            place = (number, slice(len(example.target_ids))) if axes else number
            signals[name][place] = example.signals[name]
    return signals


def _tile_shape(examples: Sequence[Example], num_tiles: int) -> tuple[int, ...] | None:
    """Of the stacked tiles; None when there are no pictures."""
    tiles = [example.images for example in examples if example.num_tiles]
    shapes = sorted({images.shape[1:] for images in tiles})
    if len(shapes) > 1:
        raise InputError(
            f"images: expected tiles of one shape in a batch, got {shapes}"
        )
    return (num_tiles, *shapes[0]) if tiles else None


def _stack_tiles(
    examples: Sequence[Example], shape: tuple[int, ...] | None
) -> np.ndarray | None:
    """All tiles in the order of the examples, padded with zeros."""
    if shape is None:
        return None
    tiles = [example.images for example in examples if example.num_tiles]
    padding = np.zeros((shape[0] - sum(map(len, tiles)), *shape[1:]))
    dtype = tiles[0].dtype if tiles else np.float32
    return np.concatenate([*tiles, padding.astype(dtype)])
