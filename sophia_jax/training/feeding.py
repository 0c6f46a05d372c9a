"""Batches from each host to the devices, and the moment at which all hosts stop."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sophia_jax.data.batch_sizes import BatchSizes, batch_sizes, pad_batch
from sophia_jax.data.packing import PackedBatch, pack_examples, pack_parts
from sophia_jax.data.pipeline import read_batches
from sophia_jax.models.model import Model
from sophia_jax.sharding import Partition
from sophia_jax.sharding.together import my_batch_shards
from sophia_jax.training.layout import place_batch
from sophia_jax.types import Array, InputError

__all__ = ["Fed", "feed", "packed_batches"]


class Fed(NamedTuple):
    """What one update takes.

    Attributes:
      batch: on the devices.
      position: of this host in the data, after the batch.
      stop: whether a process was told to stop; the same on all of them.
    """

    batch: PackedBatch
    position: dict
    stop: bool


def packed_batches(
    model: Model,
    examples: Sequence[Any],
    *,
    batch_size: int,
    row_length: int,
    micro_batches: int,
    seed: int,
    make_example: Callable[[Any], Any],
) -> grain.IterDataset:
    """Packed batches of this host, read ahead in threads.

    Raises:
      InputError: a batch has too few examples for the devices, or the hosts cannot
        share it.
    """
    host, num_hosts, num_shards = 0, 1, 1
    if model.partition is not None:
        host, num_hosts, num_shards = my_batch_shards(model.partition)
    needed = micro_batches * num_hosts * num_shards
    if batch_size < needed:
        raise InputError(
            f"batch_size: expected at least {needed}, an example for each of "
            f"{micro_batches} parts on {num_hosts * num_shards} shares of the devices, "
            f"got {batch_size}"
        )

    def pack(batch: Sequence[Any]) -> PackedBatch:
        if model.partition is None and micro_batches == 1:
            return pack_examples(batch, model.config, row_length=row_length)
        return pack_parts(
            batch,
            model.config,
            num_parts=micro_batches,
            num_shards=num_shards,
            row_length=row_length,
        )

    return read_batches(
        examples,
        pack,
        batch_size=batch_size,
        seed=seed,
        make_example=make_example,
        host=host,
        num_hosts=num_hosts,
    )


def feed(
    batches: grain.DatasetIterator,
    partition: Partition | None,
    signalled: Callable[[], str | None],
) -> Iterator[Fed]:
    """Batches where the updates want them.

    Several processes pack by themselves and step together: before each update they
    tell each other how large their parts are and whether they were told to stop. That
    travels while the update before it runs.

    Args:
      batches: of `packed_batches`.
      partition: of the model; None for one device.
      signalled: whether this process was told to stop.

    Yields:
      One batch after the other.
    """
    if jax.process_count() == 1:
        for batch in batches:
            placed = place_batch(batch, partition)
            yield Fed(placed, batches.get_state(), signalled() is not None)
        return
    largest = _largest_on(partition)
    batch = next(batches, None)
    told = None if batch is None else largest(_words(batch, signalled))
    while batch is not None:
        sizes = BatchSizes(*(int(size) for size in np.asarray(told)[:-1]))
        stop = bool(np.asarray(told)[-1])
        placed = place_batch(pad_batch(batch, sizes), partition)
        position = batches.get_state()
        batch = next(batches, None)
        if batch is not None:
            told = largest(_words(batch, signalled))
        yield Fed(placed, position, stop)


def _words(batch: PackedBatch, signalled: Callable[[], str | None]) -> np.ndarray:
    return np.array([*batch_sizes(batch), signalled() is not None], np.int32)


def _largest_on(partition: Partition) -> Callable[[np.ndarray], Array]:
    """The largest of each number that processes tell; not waited for."""
    mesh = partition.mesh
    first = {device.process_index: device for device in mesh.devices.flat}
    hosts = Mesh(np.array([first[process] for process in sorted(first)]), "host")
    cut = NamedSharding(hosts, PartitionSpec("host"))
    most = jax.jit(
        functools.partial(jnp.max, axis=0),
        out_shardings=NamedSharding(hosts, PartitionSpec()),
    )

    def largest(numbers: np.ndarray) -> Array:
        told = most(jax.make_array_from_process_local_data(cut, numbers[None]))
        # Programs that run side by side on CPUs would take each other's messages.
        if mesh.devices.flat[0].platform == "cpu":
            told.block_until_ready()
        return told

    return largest
