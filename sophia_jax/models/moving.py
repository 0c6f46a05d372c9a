"""Models from one layout to another, and the parts of a mesh that sample alone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from sophia_jax.models.internvl import model_graph, tower_graph
from sophia_jax.models.logical_axes import check_partition, placed_by, with_paths
from sophia_jax.models.model import Model
from sophia_jax.sharding import MESH_AXES, Partition
from sophia_jax.types import Array, InputError

__all__ = ["lane_models", "local_model", "move_array", "move_model", "tower_only"]

CHUNK_BYTES = 2**28  # of an array, on all devices together, that are under way at once


def move_model(
    model: Model, partition: Partition, *, donate: Collection[str] = ()
) -> Model:
    """The same model, laid out anew: to train after decoding, or the other way.

    Weights go from device to device, one after the other and a few layers at a time.
    What is donated is given up once it has moved: beyond the model there is never more
    than its largest weight.

    Args:
      model: on one device or on a mesh.
      partition: the mesh to go to, of the same devices or of others, and its rules.
      donate: parts of the weights of `model`, such as "decoder", that cannot be used
        again.

    Raises:
      InputError: the mesh does not divide the model.
    """
    check_partition(model.config, partition)
    place = placed_by(partition)

    def move(path: str, array: Array) -> Array:
        given_up = path.partition(".")[0] in donate
        return move_array(array, place(path, array.shape), donate=given_up)

    return dataclasses.replace(
        model,
        graphdef=model_graph(model.config, partition, lora=model.lora),
        params=with_paths(move, model.params),
        partition=partition,
    )


def move_array(
    array: Array,
    sharding: NamedSharding,
    *,
    donate: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> Array:
    """An array in another place, rows by rows where it is large.

    Args:
      array: what is moved.
      sharding: where to; one that cuts the first axis takes the array as a whole.
      donate: give the array up: it cannot be used again.
      chunk_bytes: what is under way at once.
    """
    there = array.sharding.is_equivalent_to(sharding, array.ndim)
    rows = max(1, chunk_bytes // (array.nbytes // len(array)))
    cut = sharding.shard_shape(array.shape)[0] < len(array)
    if there or cut or rows >= len(array):
        moved = jax.device_put(array, sharding, donate=there and donate)
        moved.block_until_ready()
        # On some of the same devices JAX takes the old shares over: they live on.
        old, new = array.sharding.device_set, sharding.device_set
        if donate and not there and (old == new or old.isdisjoint(new)):
            array.delete()
        return moved
    moved = jnp.zeros(array.shape, array.dtype, device=sharding)
    for first in range(0, len(array), rows):
        chunk = jax.device_put(array[first : first + rows], sharding)
        # Waited for, or all chunks would be under way at once.
        moved = _filled(moved, chunk, first).block_until_ready()
    if donate:
        array.delete()
    return moved


@functools.partial(jax.jit, donate_argnums=0)
def _filled(whole: Array, chunk: Array, first: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, chunk, first, axis=0)


def local_model(model: Model) -> Model:
    """The part of a mesh that this process has for itself, with whole weights.

    Nothing is copied. What it computes asks no other process.

    Args:
      model: of several processes, with rules that cut weights along `tensor` alone, as
        `DECODING` does; of this process alone, with any.

    Raises:
      InputError: weights are cut along another axis, or the devices of a `tensor` axis
        belong to several processes.
    """
    if model.partition is None or _is_local(model.partition.mesh.devices.flat):
        return model
    groups = _tensor_groups(model.partition.mesh)
    mine = [group for group in groups if _is_local(group)]
    if not mine:
        raise InputError(
            f"mesh: expected the devices along tensor={len(groups[0])} in one process "
            f"of {jax.local_device_count()}, got them in several"
        )
    return _on_groups(model, mine)


def tower_only(model: Model) -> Model:
    """What encodes pictures, by itself: it stays when the decoder is given up."""
    return dataclasses.replace(
        model,
        graphdef=tower_graph(model.config, model.partition),
        params={part: model.params[part] for part in ("vision", "projector")},
    )


def lane_models(model: Model) -> list[Model]:
    """One model for each group of devices that hold whole weights; nothing is copied.

    Args:
      model: as of `local_model`.

    Returns:
      Models on meshes with no axis but `tensor`; the model itself where it has no mesh.

    Raises:
      InputError: as of `local_model`.
    """
    if model.partition is None:
        return [model]
    local = local_model(model)
    return [
        _on_groups(local, [group]) for group in _tensor_groups(local.partition.mesh)
    ]


def _tensor_groups(mesh: Mesh) -> np.ndarray:
    """[group tensor] of devices."""
    return np.moveaxis(mesh.devices, MESH_AXES.index("tensor"), -1).reshape(
        -1, mesh.shape["tensor"]
    )


def _is_local(group: Iterable[jax.Device]) -> bool:
    return all(device.process_index == jax.process_index() for device in group)


def _on_groups(model: Model, groups: Sequence[np.ndarray]) -> Model:
    """The model on some groups of its devices."""
    devices = np.stack(groups)[:, None, :, None]
    partition = Partition(Mesh(devices, MESH_AXES), model.partition.rules)
    return dataclasses.replace(
        model,
        graphdef=model_graph(model.config, partition, lora=model.lora),
        params=with_paths(_view(partition), model.params),
        partition=partition,
    )


def _view(partition: Partition) -> Callable[[str, Array], Array]:
    """The array that some of an array's devices hold between them."""
    place = placed_by(partition)
    devices = list(partition.mesh.devices.flat)

    def view(path: str, array: Array) -> Array:
        sharding = place(path, array.shape)
        held = {shard.device: shard.data for shard in array.addressable_shards}
        pieces = [held[device] for device in devices]
        wanted = sharding.shard_shape(array.shape)
        if any(piece.shape != wanted for piece in pieces):
            raise InputError(
                f"{path}: expected shares of {list(wanted)} along tensor alone, got "
                f"{list(pieces[0].shape)}; move the model to the rules for decoding"
            )
        return jax.make_array_from_single_device_arrays(array.shape, sharding, pieces)

    return view
