"""Where the state and the batches of an update lie on a mesh."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from sophia_jax.data.packing import PackedBatch
from sophia_jax.models.logical_axes import placed_by, with_paths
from sophia_jax.sharding import Partition
from sophia_jax.sharding.rules import MeshAxes
from sophia_jax.sharding.together import my_batch_shards
from sophia_jax.types import Array

__all__ = ["batch_shardings", "optimizer_shardings", "place_batch"]


def optimizer_shardings(opt_state: Any, params: dict, partition: Partition) -> Any:
    """Of each array of an optimizer's state, the place of the weight that it is of.

    What has the weight's axes is cut as it is, as far as its own axes divide; anything
    else, such as a count, is whole everywhere.

    Args:
      opt_state: arrays or their shapes; whatever mirrors `params` is found by its path.
      params: what the optimizer moves.
      partition: the mesh and its rules.

    Returns:
      The tree of `opt_state`.
    """
    of_weight = {}

    def note(path: str, leaf: Any) -> None:
        of_weight[path] = leaf.ndim, placed_by(partition)(path, leaf.shape).spec

    with_paths(note, params)

    def place(path: tuple, leaf: Any) -> NamedSharding:
        keys = [str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey)]
        ndim, spec = of_weight.get(".".join(keys), (None, None))
        if leaf.ndim != ndim:
            return NamedSharding(partition.mesh, PartitionSpec())
        return _dividing(NamedSharding(partition.mesh, spec), leaf.shape)

    return jax.tree_util.tree_map_with_path(place, opt_state)


def batch_shardings(batch: PackedBatch, partition: Partition) -> PackedBatch:
    """Each device gets whole shards, and of their rows its share of the tokens.

    Args:
      batch: arrays or their shapes, with a leading axis for parts or without.
      partition: the mesh and its rules.
    """
    parts = (None,) * (batch.token_ids.ndim - 2)

    def rows(*rest: str | None) -> NamedSharding:
        return partition.sharding(*parts, "batch", *rest)

    return PackedBatch(
        token_ids=rows("token"),
        positions=rows("token"),
        segment_ids=rows("token"),
        image_index=rows("token"),
        images=None if batch.images is None else rows(),
        target_index=rows(),
        target_ids=rows(),
        target_mask=rows(),
        learnt=rows(),
        reward=rows(),
        behavior_log_prob=rows(),
        signals=dict.fromkeys(batch.signals, rows()),
    )


def place_batch(batch: PackedBatch, partition: Partition | None) -> PackedBatch:
    """A batch from the host to the devices; of several hosts, each gives its shards.

    A host gives whole rows, also where its devices hold a share of their tokens.
    """
    if partition is None:
        return batch
    _, num_hosts, _ = my_batch_shards(partition)
    parts = batch.token_ids.ndim - 2

    def put(array: np.ndarray, place: NamedSharding) -> Array:
        shape = list(array.shape)
        shape[parts] *= num_hosts
        return jax.make_array_from_process_local_data(place, array, tuple(shape))

    return jax.tree.map(put, batch, batch_shardings(batch, partition))


def _dividing(sharding: NamedSharding, shape: tuple[int, ...]) -> NamedSharding:
    """The same, whole along axes that it does not divide."""
    spec = (*sharding.spec, *[None] * len(shape))

    def divides(size: int, axes: MeshAxes) -> bool:
        names = (axes,) if isinstance(axes, str) else axes or ()
        return size % math.prod(sharding.mesh.shape[name] for name in names) == 0

    kept = [
        axes if divides(size, axes) else None
        for size, axes in zip(shape, spec, strict=False)
    ]
    return NamedSharding(sharding.mesh, PartitionSpec(*kept))
