"""Several updates on examples that are all there: of one round of answers, say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sophia_jax.data.packing import Buckets, Example, PackedBatch, pack_parts
from sophia_jax.data.rows import power_of_two
from sophia_jax.models.model import Model
from sophia_jax.sharding.order import in_order
from sophia_jax.training.layout import place_batch
from sophia_jax.training.loop import TrainingConfig
from sophia_jax.training.step import TrainState, train_step

__all__ = ["few_shapes", "pass_over"]


def pass_over(
    rng: np.random.Generator,
    state: TrainState,
    examples: Sequence[Example],
    model: Model,
    config: TrainingConfig,
    *,
    passes: int = 1,
) -> tuple[TrainState, list[dict[str, float]]]:
    """Updates in equal parts of at most `config.batch_size` examples, all in each pass.

    Args:
      rng: of the examples' order, another one in each pass.
      state: cannot be used again.
      examples: at least one.
      model: that learns, for its sizes and devices.
      config: batch size, row length and micro-batches.
      passes: over the examples.

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
        buckets=few_shapes(examples, config, shares),
        some_empty=True,
        least_sequences=-(-config.batch_size // shares),
    )
    return place_batch(batch, partition)


def few_shapes(
    examples: Sequence[Example], config: TrainingConfig, shares: int = 1
) -> Buckets:
    """Steps by which batches grow of which each keeps another part of its answers.

    Rows grow by at most a quarter of what a batch of `config.batch_size` such examples
    has, and the rest by a half; a row is always as long as it may be. So batches of a
    run have a handful of shapes, however many of their examples were dropped.

    Args:
      examples: of one batch.
      config: of its full size and its rows.
      shares: parts and shards that it is dealt to.
    """
    full = config.batch_size / len(examples) / shares
    tokens = full * sum(example.length for example in examples)
    learnt = full * sum(len(example.target_ids) for example in examples)
    tiles = full * sum(example.num_tiles for example in examples)
    usual = Buckets()
    return usual._replace(
        rows=power_of_two(int(tokens / config.row_length / 4)),
        tokens=config.row_length,
        learnt=max(usual.learnt, power_of_two(int(learnt / 2))),
        tiles=max(usual.tiles, power_of_two(int(tiles / 2))),
    )
