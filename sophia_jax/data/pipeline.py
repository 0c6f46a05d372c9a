"""Batches from a random-access source: in order, by host, read ahead, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grain.python as grain

from sophia_jax.types import InputError

__all__ = ["read_batches"]

BATCHES_READ_AHEAD = 4
THREADS = 2


def read_batches(
    source: Sequence[Any],
    pack: Callable[[Sequence[Any]], Any],
    *,
    batch_size: int,
    seed: int,
    make_example: Callable[[Any], Any] = lambda element: element,
    host: int = 0,
    num_hosts: int = 1,
) -> grain.IterDataset:
    """Endless batches, made in threads ahead of their use.

    A host's batch is its share of the global one, every `num_hosts`-th example of it;
    so batches are the same examples on any number of hosts. The state of an iterator
    is how many batches it gave, and the rest is the same after `set_state`.

    Args:
      source: shuffled anew in each epoch; or an endless grain data set, in its order.
      pack: makes a batch of a host's examples.
      batch_size: examples of a batch, on all hosts together.
      seed: of the orders.
      make_example: turns an element of the source into an example; pictures are read
        and encoded here.
      host: index of this one.
      num_hosts: that share the batches.

    Returns:
      An iterable with `get_state` and `set_state` on its iterators.

    Raises:
      InputError: the hosts cannot share a batch evenly.
      ValueError: there is no such host.
    """
    if not 0 <= host < num_hosts:
        raise ValueError(f"host: expected 0 to {num_hosts - 1}, got {host}")
    if batch_size % num_hosts:
        raise InputError(
            f"batch_size: expected a multiple of {num_hosts} hosts, got {batch_size}"
        )
    if not isinstance(source, grain.MapDataset):
        source = grain.MapDataset.source(source).seed(seed).shuffle().repeat()
    if num_hosts > 1:
        source = source[host::num_hosts]
    options = grain.ReadOptions(
        num_threads=THREADS, prefetch_buffer_size=BATCHES_READ_AHEAD
    )
    return (
        source.map(make_example)
        # The source is endless: there is no remainder, and grain's count of batches is
        # exact only where it need not round up.
        .batch(batch_size // num_hosts, drop_remainder=True, batch_fn=pack)
        .to_iter_dataset(options)
    )
