"""Compile for a TPU that is not there, and read off the memory it would need."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.planning.hardware import GENERATIONS, Generation
from sophia_jax.planning.slices import Slice, lane_topology
from sophia_jax.types import InputError

__all__ = [
    "Compiled",
    "Program",
    "compile_program",
    "count_program",
    "lane_devices",
    "shard_bytes",
    "slice_devices",
    "usable_hbm",
]

# Or libtpu would ask the cloud what machine it is on.
SURROUNDINGS = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # for nothing runs: several may compile
    "TPU_ACCELERATOR_TYPE": "none",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
OUT_OF_MEMORY = re.compile(
    r"Ran out of memory.*?\((?P<needed>[\d.]+)(?P<needed_unit>[KMGT]?)\)? "
    r"exceeds available \w+ \((?P<available>[\d.]+)(?P<available_unit>[KMGT]?)\)?",
    re.DOTALL,
)
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Program:
    """What is to be compiled.

    Attributes:
      lower: traces the library's own function for its abstract arguments.
      held: bytes of a chip's share of what is there while it runs: weights, optimizer,
        cache, inputs. What else is needed is activations.
      beside: of these, what the program is not given.
      working: bytes of activations as counted from the configuration, for chips whose
        compiler is not asked.
    """

    lower: Callable[[], jax.stages.Lowered]
    held: Mapping[str, int]
    beside: int = 0
    working: int = 0


@dataclass(frozen=True)
class Compiled:
    """What the compiler said; bytes are of one chip.

    Attributes:
      seconds: that it took, tracing included.
      peak_bytes: that the program holds at most, its arguments included; where it does
        not fit, what it would need.
      usable_bytes: that the chip has for programs.
    """

    seconds: float
    peak_bytes: int
    usable_bytes: int

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.usable_bytes


def slice_devices(target: Slice) -> Sequence[jax.Device]:
    """The chips of a slice that is not there.

    Raises:
      InputError: `libtpu` is not installed, or knows no such slice.
    """
    return _devices(
        target.generation.name,
        target.topology,
        target.chips_per_host,
        target.num_slices,
    )


def lane_devices(generation: Generation, chips: int) -> Sequence[jax.Device]:
    """Some chips of one host.

    Raises:
      InputError: as `slice_devices`.
    """
    return _devices(generation.name, lane_topology(generation, chips), chips, 1)


@functools.cache
def _devices(
    name: str, topology: tuple[int, ...], chips_per_host: int, num_slices: int
) -> Sequence[jax.Device]:
    if not GENERATIONS[name].is_tpu:
        return _stand_ins(topology[0])
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "plan: expected libtpu, whose compiler is asked, got none; "
            "pip install 'sophia-jax[plan]'"
        )
    from jax.experimental import topologies

    for variable, value in SURROUNDINGS.items():
        os.environ.setdefault(variable, value)
    options = {"num_slices": num_slices} if num_slices > 1 else {}
    if name == "v4":
        options["chip_config_name"] = "megacore"  # both cores of a chip as one device
    if chips_per_host == 8:
        options["chips_per_host_bounds"] = (2, 4, 1)
    full_name = f"{name}:{'x'.join(map(str, topology))}"
    try:
        return topologies.get_topology_desc(
            platform="tpu", topology_name=full_name, **options
        ).devices
    except jax.errors.JaxRuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"slice: expected one that libtpu knows, got {full_name} ({reason})"
        ) from error


def _stand_ins(number: int) -> Sequence[jax.Device]:
    """CPU devices, on which arrays are laid out and nothing is compiled."""
    found = jax.devices("cpu")
    if len(found) < number:
        raise InputError(
            f"slice: expected at most {len(found)} GPUs, for which the devices of this "
            f"process stand in (jax_num_cpu_devices), got {number}"
        )
    return found[:number]


def count_program(program: Program, usable_bytes: int) -> Compiled:
    """What a program needs as it is counted: nothing is compiled."""
    return Compiled(0.0, sum(program.held.values()) + program.working, usable_bytes)


def compile_program(program: Program, usable_bytes: int) -> Compiled:
    """Compile a program, or hear by how much it does not fit.

    Args:
      program: for devices of a topology.
      usable_bytes: of `usable_hbm`.
    """
    start = time.monotonic()
    try:
        with _stored_nowhere():
            compiled = program.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        found = _needed(str(error))
        if found is None:
            raise
        needed, _ = found
        seconds = time.monotonic() - start
        return Compiled(seconds, needed + program.beside, usable_bytes)
    peak = compiled.memory_analysis().peak_memory_in_bytes + program.beside
    return Compiled(time.monotonic() - start, peak, usable_bytes)


@contextlib.contextmanager
def _stored_nowhere() -> Iterator[None]:
    """Without the persistent cache: it cannot read again what no device here can run.

    What was compiled in less than so many seconds is not stored.
    """
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, math.inf)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _needed(message: str) -> tuple[int, int] | None:
    """Bytes that are needed and that there are, of the compiler's refusal."""
    found = OUT_OF_MEMORY.search(message)
    if found is None:
        return None
    needed, available = (
        int(float(found[name]) * UNITS[found[f"{name}_unit"]])
        for name in ("needed", "available")
    )
    return max(needed, available + 1), available


@functools.cache
def usable_hbm(generation: Generation) -> int:
    """Bytes of a chip that programs can have: the compiler refuses twice as many.

    Args:
      generation: of a TPU; of others the published size is taken.
    """
    published = int(generation.hbm_gib * 2**30)
    if not generation.is_tpu:
        return published
    place = jax.sharding.SingleDeviceSharding(lane_devices(generation, 1)[0])
    whole = jax.ShapeDtypeStruct((2 * published,), jnp.int8, sharding=place)
    try:
        jax.jit(jnp.negative).lower(whole).compile()
    except jax.errors.JaxRuntimeError as error:
        found = _needed(str(error))
        if found is not None:
            return found[1]
    raise RuntimeError(
        f"libtpu: expected a refusal of {whole.shape[0]} bytes, got none"
    )


def shard_bytes(tree: object) -> int:
    """Bytes of one chip's share of abstract arrays."""
    return sum(leaf.dtype.itemsize * _size(leaf) for leaf in jax.tree.leaves(tree))


def _size(leaf: jax.ShapeDtypeStruct) -> int:
    shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape
    return math.prod(shape)
