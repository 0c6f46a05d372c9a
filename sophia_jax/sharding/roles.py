"""Which devices each role runs on, and how they share its work: roles as data."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax

from sophia_jax.sharding.mesh import MESH_AXES, make_lane_mesh, make_mesh
from sophia_jax.sharding.rules import DECODING, TRAINING, Partition
from sophia_jax.types import InputError

__all__ = [
    "MeshConfig",
    "Roles",
    "parse_mesh",
    "sampling_partition",
    "training_partition",
]


@dataclass(frozen=True)
class MeshConfig:
    """The devices of one role, and the axes along which they share its work.

    Attributes:
      data, fsdp, tensor, context: as of `make_mesh`; -1 for what the others leave.
      first: the device at which they begin, in JAX's order.
      count: how many they are; None for all from there on.
    """

    data: int = 1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1
    first: int = 0
    count: int | None = None


@dataclass(frozen=True)
class Roles:
    """The mesh of each role; roles on the same devices take turns.

    Attributes:
      policy: while it describes pictures and answers; None for all accelerators.
      reasoner: likewise.
      update: of the policy while it learns; None for all accelerators, as `fsdp`.
    """

    policy: MeshConfig | None = None
    reasoner: MeshConfig | None = None
    update: MeshConfig | None = None


def parse_mesh(text: str) -> MeshConfig:
    """A mesh as it is written: "fsdp=8,tensor=2", or "tensor=4@0:4" for some devices.

    Args:
      text: sizes of axes, then perhaps the first device and the one after the last.

    Raises:
      InputError: it is written otherwise.
    """
    found = re.fullmatch(r"([a-z=,\-\d]+?)(?:@(\d+):(\d*))?", text)
    sizes: dict[str, int] = {}
    for part in found[1].split(",") if found else [text]:
        size = re.fullmatch(rf"({'|'.join(MESH_AXES)})=(-1|[1-9]\d*)", part)
        if size is None or size[1] in sizes:
            raise InputError(
                f"mesh: expected AXIS=SIZE,... of {', '.join(MESH_AXES)}, each once, "
                f"and perhaps @FIRST:END, got {text!r}"
            )
        sizes[size[1]] = int(size[2])
    first, end = (found[2], found[3]) if found else (None, None)
    count = int(end) - int(first) if end else None
    if count is not None and count < 1:
        raise InputError(f"mesh: expected @FIRST:END with END > FIRST, got {text!r}")
    return MeshConfig(**sizes, first=int(first or 0), count=count)


def training_partition(
    config: MeshConfig | None, devices: Sequence[jax.Device] | None = None
) -> Partition | None:
    """Where a model learns.

    Args:
      config: None for all devices of an accelerator, or of several processes, along
        `fsdp`; on a CPU for one device, without a mesh.
      devices: all of JAX's by default.

    Raises:
      InputError: there are not as many devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    if config is None:
        if _is_single(devices):
            return None
        config = MeshConfig(fsdp=-1)
    sizes = {axis: getattr(config, axis) for axis in MESH_AXES}
    mesh = make_mesh(**sizes, devices=_chosen(config, devices))
    return Partition(mesh, TRAINING)


def sampling_partition(
    config: MeshConfig | None,
    *,
    num_kv_heads: Callable[[], int],
    devices: Sequence[jax.Device] | None = None,
) -> Partition | None:
    """Where a model is sampled: lanes of `tensor` devices each, within a process.

    Args:
      config: of `tensor` alone; None for as many devices of a process as can share the
        model's heads; on a CPU for one device, without a mesh.
      num_kv_heads: of the model; asked where the lanes follow from it.
      devices: all of JAX's by default.

    Raises:
      InputError: there are not as many devices, or another axis was given a size.
    """
    devices = list(jax.devices() if devices is None else devices)
    if config is None:
        if _is_single(devices):
            return None
        config = MeshConfig(tensor=math.gcd(num_kv_heads(), jax.local_device_count()))
    if config.fsdp != 1 or config.context != 1 or config.tensor < 1:
        raise InputError(
            "mesh: expected sizes of tensor and data alone for sampling, got "
            f"fsdp={config.fsdp}, tensor={config.tensor}, context={config.context}"
        )
    mesh = make_lane_mesh(tensor=config.tensor, devices=_chosen(config, devices))
    if config.data not in (1, -1, mesh.shape["data"]):
        raise InputError(
            f"mesh: expected data={mesh.shape['data']}, the lanes of "
            f"tensor={config.tensor} devices, got data={config.data}"
        )
    return Partition(mesh, DECODING)


def _is_single(devices: Sequence[jax.Device]) -> bool:
    """Whether one device does it: the only one, or the CPU."""
    on_cpu = devices[0].platform == "cpu" and jax.process_count() == 1
    return on_cpu or len(devices) == 1


def _chosen(config: MeshConfig, devices: list[jax.Device]) -> list[jax.Device]:
    end = len(devices) if config.count is None else config.first + config.count
    if jax.process_count() > 1 and (config.first, end) != (0, len(devices)):
        raise InputError(
            f"mesh: expected all {len(devices)} devices of several processes, got "
            f"{config.first}:{end}; roles there take turns"
        )
    if not config.first < end <= len(devices):
        raise InputError(
            f"mesh: expected devices among the {len(devices)} that there are, got "
            f"{config.first}:{end}"
        )
    return devices[config.first : end]
