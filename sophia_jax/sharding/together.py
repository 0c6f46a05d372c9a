"""What the processes of a run do alone, and where they wait for each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWaiting
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from sophia_jax.sharding.rules import Partition
from sophia_jax.types import InputError

__all__ = ["all_agree", "is_first", "my_batch_shards", "my_share", "wait_for_all"]

Thing = TypeVar("Thing")

LONGEST_STAGE_SECONDS = 30 * 24 * 3600  # a dead process ends the waiting, not this
LOOK_SECONDS = 0.2  # between looks at signals

_count = itertools.count()


def is_first() -> bool:
    """Whether this process writes what there is one of."""
    return jax.process_index() == 0


def my_share(things: Sequence[Thing]) -> Sequence[Thing]:
    """What this process does of things that any may do: each n-th of them."""
    return things[jax.process_index() :: jax.process_count()]


def all_agree(yes: bool) -> bool:
    """Whether all processes say yes; each waits for all, and for their devices."""
    if jax.process_count() == 1:
        return yes
    return bool(np.all(multihost_utils.process_allgather(np.array(yes))))


def wait_for_all(what: str) -> None:
    """Wait until every process is here, for as long as they take.

    No device is used, so that other work of theirs is not waited for. When a process
    dies the others are told.

    Args:
      what: is being waited for.

    Raises:
      jax.errors.JaxRuntimeError: a process died.
    """
    if jax.process_count() == 1:
        return
    # JAX's own barriers hold the devices, or are not to be interrupted.
    from jax._src.distributed import global_state

    name = f"sophia_jax/{next(_count)}/{what}"
    pool = ThreadPoolExecutor(1)
    waiting = pool.submit(
        global_state.client.wait_at_barrier, name, LONGEST_STAGE_SECONDS * 1000
    )
    pool.shutdown(wait=False)
    while True:
        try:
            return waiting.result(timeout=LOOK_SECONDS)  # signals are heeded here
        except StillWaiting:
            if waiting.done():
                raise


def my_batch_shards(partition: Partition) -> tuple[int, int, int]:
    """Which shards of a batch this process packs.

    Processes whose devices hold the same shards, as parts of rows or of weights are on
    the others, pack the same ones.

    Returns:
      The place of this process among those that pack others; how many of these there
      are; and how many shards each packs.

    Raises:
      InputError: the mesh gives processes shards that overlap but differ.
    """
    ways = partition.ways("batch")
    held: dict[int, set[int]] = {}
    indices = partition.sharding("batch").devices_indices_map((ways,))
    for device, (index,) in indices.items():
        held.setdefault(device.process_index, set()).update(range(ways)[index])
    shares = sorted({tuple(sorted(shards)) for shards in held.values()})
    if sum(map(len, shares)) != ways or len(set(map(len, shares))) > 1:
        raise InputError(
            f"mesh: expected processes that hold different shards of a batch, or the "
            f"same ones, got {shares}; let data x fsdp be a multiple of the processes, "
            "or the other axes"
        )
    mine = tuple(sorted(held[jax.process_index()]))
    return shares.index(mine), len(shares), len(mine)
