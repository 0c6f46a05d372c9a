"""The mesh: devices along the axes data, fsdp, tensor and context."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from sophia_jax.types import InputError

__all__ = ["MESH_AXES", "make_lane_mesh", "make_mesh"]

MESH_AXES = ("data", "fsdp", "tensor", "context")


def make_mesh(
    *,
    data: int = 1,
    fsdp: int = 1,
    tensor: int = 1,
    context: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """Devices laid out so that neighbours on an axis are neighbours in the machine.

    Slices that are joined by a network alone lie along `data`, whose only traffic is a
    sum of gradients in each update.

    Args:
      data: copies of the model, each with its share of the batch.
      fsdp: devices that share weights and batch; weights are gathered for use.
      tensor: devices that share heads, MLP and vocabulary.
      context: devices that share the tokens of a row.
      devices: all of JAX's by default. One of the sizes may be -1: what they leave.

    Returns:
      A mesh with all four axes.

    Raises:
      InputError: the sizes do not multiply to the number of devices, or several slices
        do not divide `data`.
    """
    devices = list(jax.devices() if devices is None else devices)
    shape = _sizes((data, fsdp, tensor, context), len(devices))
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if len(slices) > 1:
        if shape[0] % len(slices):
            raise InputError(
                f"data: expected a multiple of the {len(slices)} slices, got {shape[0]}"
            )
        grid = mesh_utils.create_hybrid_device_mesh(
            (shape[0] // len(slices), *shape[1:]), (len(slices), 1, 1, 1), devices
        )
    elif devices[0].platform == "tpu":
        grid = mesh_utils.create_device_mesh(
            shape, devices, allow_split_physical_axes=True
        )
    else:
        grid = np.array(devices).reshape(shape)
    return Mesh(grid, MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES))


def make_lane_mesh(*, tensor: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Groups of devices along `tensor`, each within one process; `data` counts them.

    Args:
      tensor: devices of a group.
      devices: all of JAX's by default.

    Raises:
      InputError: the devices of a process are no multiple of `tensor`.
    """
    devices = list(jax.devices() if devices is None else devices)
    of_process: dict[int, list[jax.Device]] = {}
    for device in devices:
        of_process.setdefault(device.process_index, []).append(device)
    if any(len(mine) % tensor for mine in of_process.values()):
        raise InputError(
            f"tensor: expected a divisor of the {len(devices) // len(of_process)} "
            f"devices of a process, got {tensor}"
        )
    grid = [
        make_mesh(data=-1, tensor=tensor, devices=mine).devices
        for mine in of_process.values()
    ]
    return Mesh(
        np.concatenate(grid), MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES)
    )


def _sizes(sizes: tuple[int, ...], num_devices: int) -> tuple[int, ...]:
    """The sizes with what is left in place of -1."""
    named = ", ".join(
        f"{axis}={size}" for axis, size in zip(MESH_AXES, sizes, strict=True)
    )
    fixed = math.prod(size for size in sizes if size != -1)
    if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
        raise InputError(f"mesh: expected sizes >= 1, one of them perhaps -1, {named}")
    whole = num_devices % fixed == 0 if -1 in sizes else num_devices == fixed
    if not whole:
        raise InputError(
            f"mesh: expected axes that multiply to {num_devices} devices, got {named}"
        )
    return tuple(num_devices // fixed if size == -1 else size for size in sizes)
