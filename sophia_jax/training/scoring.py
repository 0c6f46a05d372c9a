"""Log-probabilities of given answers: of a reference, and of what is being learnt."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx

from sophia_jax.data.packing import Example, PackedBatch, pack_examples, pack_parts
from sophia_jax.models.model import Model
from sophia_jax.sharding.order import in_order
from sophia_jax.training.layout import place_batch
from sophia_jax.training.step import policy_log_probs
from sophia_jax.types import Array, Track, untracked

__all__ = ["NUMBER", "pack_numbered", "score_examples", "score_signal"]

NUMBER = "number"  # a signal: which of a batch's examples a sequence is, from 1


def score_examples(
    model: Model,
    examples: Sequence[Example],
    *,
    row_length: int,
    batch_size: int = 64,
    track: Track = untracked,
) -> list[np.ndarray]:
    """log π(y_l | y_<l, x, v) of every target token of each example, in nats.

    Examples are packed as in an update, and no logits are held for a prompt. Batches
    of one shape bucket share a program.

    Args:
      model: on one device, or on a mesh.
      examples: none is cut; they are read in their order, so that pictures that
        neighbours share are encoded once.
      row_length: the most tokens that a row may have.
      batch_size: examples that are scored together; they are all in memory at once.
      track: shows how many examples are done.

    Returns:
      For each example Float32[token], on the host.

    Raises:
      InputError: an example is refused by `pack_examples`.
      ValueError: batch_size is not positive, or the mesh is of several processes.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected >= 1, got {batch_size}")
    if jax.process_count() > 1:
        raise ValueError(
            f"model: expected one of a single process, got {jax.process_count()}"
        )
    starts = range(0, len(examples), batch_size)
    found: list[np.ndarray] = []
    for start in track(starts, "scored batches", len(starts)):
        stop = min(start + batch_size, len(examples))
        batch = [examples[index] for index in range(start, stop)]
        found += _score(model, batch, row_length, batch_size)
    return found


def score_signal(
    model: Model,
    examples: Sequence[Example],
    name: str,
    *,
    row_length: int,
    batch_size: int,
) -> list[Example]:
    """Examples with what a model says of each target token as a signal of that name.

    Args, raises: as of `score_examples`.
    """
    scored = score_examples(
        model, examples, row_length=row_length, batch_size=batch_size
    )
    return [
        dataclasses.replace(example, signals={**example.signals, name: log_probs})
        for example, log_probs in zip(examples, scored, strict=True)
    ]


def _score(
    model: Model, examples: Sequence[Example], row_length: int, num_sequences: int
) -> list[np.ndarray]:
    """Of one batch; what packing puts elsewhere is found by its number."""
    batch = pack_numbered(model, examples, row_length, num_sequences)
    with in_order(model.partition):
        scored = _log_probs(
            model.graphdef, model.params, place_batch(batch, model.partition)
        )
    by_sequence = np.asarray(scored, np.float32)
    found: dict[int, np.ndarray] = {}
    for sequence, number in enumerate(batch.signals[NUMBER].astype(int)):
        if number:
            found[number] = by_sequence[sequence][batch.target_mask[sequence]]
    return [found[number] for number in range(1, len(examples) + 1)]


def pack_numbered(
    model: Model, examples: Sequence[Example], row_length: int, num_sequences: int
) -> PackedBatch:
    """A batch of examples whose signal `NUMBER` says which a sequence is, from 1.

    On a mesh there are enough of them for each of its shares; those that come again
    have the last one's number.
    """
    examples = [
        dataclasses.replace(example, signals={NUMBER: float(number)})
        for number, example in enumerate(examples, start=1)
    ]
    if model.partition is None:
        return pack_examples(
            examples, model.config, row_length=row_length, num_sequences=num_sequences
        )
    num_shards = model.partition.ways("batch")
    missing = max(0, num_shards - len(examples))
    packed = pack_parts(
        examples + examples[-1:] * missing,
        model.config,
        num_parts=1,
        num_shards=num_shards,
        row_length=row_length,
    )
    return jax.tree.map(lambda array: array[0], packed)


@functools.partial(jax.jit, static_argnums=0)
def _log_probs(graphdef: nnx.GraphDef, params: dict, batch: PackedBatch) -> Array:
    return policy_log_probs(graphdef, params, batch)
