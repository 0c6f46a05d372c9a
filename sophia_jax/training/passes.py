"""Several updates on examples that are all there: of one round of answers, say."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx

from sophia_jax.data.packing import Example, PackedBatch, pack_parts
from sophia_jax.models.model import Model
from sophia_jax.sharding.order import in_order
from sophia_jax.training import objectives
from sophia_jax.training.layout import place_batch
from sophia_jax.training.loop import TrainingConfig
from sophia_jax.training.step import TrainState, policy_log_probs, train_step
from sophia_jax.types import Array

__all__ = ["pass_over"]


def pass_over(
    rng: np.random.Generator,
    state: TrainState,
    examples: Sequence[Example],
    model: Model,
    config: TrainingConfig,
    *,
    passes: int = 1,
    reference: Model | None = None,
) -> tuple[TrainState, list[dict[str, float]]]:
    """Updates in equal parts of at most `config.batch_size` examples, all in each pass.

    Args:
      rng: of the examples' order, another one in each pass.
      state: cannot be used again.
      examples: at least one.
      model: that learns, for its sizes and devices.
      config: batch size, row length and micro-batches.
      passes: over the examples.
      reference: frozen, on the same devices; what it says of each token is the signal
        `objectives.REFERENCE`.

    Returns:
      The state, and the metrics of each update, which were waited for.

    Raises:
      InputError: an example is refused by `pack_parts`.
    """
    rows, num_updates = [], -(-len(examples) // config.batch_size)
    for _ in range(passes):
        order = rng.permutation(len(examples))
        for chosen in np.array_split(order, num_updates):
            batch = _batch([examples[index] for index in chosen], model, config)
            with in_order(model.partition):
                if reference is not None:
                    batch = _with_reference(batch, reference)
                state, metrics = train_step(state, batch)
            rows.append({name: float(value) for name, value in metrics.items()})
    return state, rows


def _batch(
    examples: Sequence[Example], model: Model, config: TrainingConfig
) -> PackedBatch:
    """On the devices; a part may be empty, since there may be few examples.

    Their number varies, and that of the batch's sequences does not: fewer programs.
    """
    partition = model.partition
    num_shards = 1 if partition is None else partition.ways("batch")
    shares = config.micro_batches * num_shards
    batch = pack_parts(
        examples,
        model.config,
        num_parts=config.micro_batches,
        num_shards=num_shards,
        row_length=config.row_length,
        some_empty=True,
        least_sequences=-(-config.batch_size // shares),
    )
    return place_batch(batch, partition)


def _with_reference(batch: PackedBatch, reference: Model) -> PackedBatch:
    scored = _score(reference.graphdef, reference.params, batch)
    return batch.replace(signals=batch.signals | {objectives.REFERENCE: scored})


@functools.partial(jax.jit, static_argnums=0)
def _score(graphdef: nnx.GraphDef, params: dict, batch: PackedBatch) -> Array:
    """log π of each target token, [part sequence target], one part after the other."""
    return jax.lax.map(lambda part: policy_log_probs(graphdef, params, part), batch)
