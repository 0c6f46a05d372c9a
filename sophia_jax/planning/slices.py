"""Slices as their users name them: accelerator type, topology, chips."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sophia_jax.planning.hardware import GENERATIONS, Generation
from sophia_jax.types import InputError

__all__ = ["Slice", "lane_topology", "parse_slice"]

PREFIXES = {
    prefix: each for each in GENERATIONS.values() for prefix in (each.name, each.prefix)
}


@dataclass(frozen=True)
class Slice:
    """One slice, or several equal ones that are joined by the data-centre network.

    Attributes:
      generation: of the chips.
      topology: chips along each axis of a slice's network; (chips,) of GPUs.
      num_slices: how many of them.
    """

    generation: Generation
    topology: tuple[int, ...]
    num_slices: int = 1

    @property
    def chips(self) -> int:
        """Of all slices."""
        return self.chips_per_slice * self.num_slices

    @property
    def chips_per_slice(self) -> int:
        return math.prod(self.topology)

    @property
    def chips_per_host(self) -> int:
        alone = self.chips_per_slice <= self.generation.chips_alone
        return self.chips_per_slice if alone else self.generation.chips_per_host

    @property
    def hosts(self) -> int:
        """Machines that run a process each, of all slices."""
        return self.chips // self.chips_per_host

    @property
    def topology_name(self) -> str:
        """As JAX and Google Cloud write it: v5p:4x4x4."""
        return f"{self.generation.name}:{'x'.join(map(str, self.topology))}"

    @property
    def accelerator_type(self) -> str:
        """As Google Cloud counts: v5p-128 are 64 chips, of two cores each."""
        number = self.generation.counted * self.chips_per_slice
        return f"{self.generation.prefix}-{number}"

    @property
    def name(self) -> str:
        """What `parse_slice` reads as this."""
        if not self.generation.is_tpu:
            return self.accelerator_type
        several = f"{self.num_slices}*" if self.num_slices > 1 else ""
        return several + self.topology_name

    def __str__(self) -> str:
        several = f"{self.num_slices} slices of " if self.num_slices > 1 else ""
        chips = f"{self.chips} chip{'s' if self.chips > 1 else ''}"
        if not self.generation.is_tpu:
            return f"{self.chips} {self.generation.name.upper()}"
        return (
            f"{several}{self.accelerator_type} ({self.topology_name}), {chips} on "
            f"{self.hosts} host{'s' if self.hosts > 1 else ''}"
        )


def parse_slice(given: str, num_slices: int | None = None) -> Slice:
    """The slice that a user means.

    Args:
      given: a topology (v5p:4x4x4), an accelerator type (v5p-128, which counts cores,
        as v4 does; v5litepod-16 or v5e-16 and v6e-64, which count chips), h100-8; each
        may be preceded by a number of slices, as in 2*v6e-64.
      num_slices: another way to say how many.

    Raises:
      InputError: it means none; says which there are.
    """
    text = given.strip().lower()
    several, _, name = text.rpartition("*")
    if several and not re.fullmatch(r"[1-9]\d{0,3}", several):
        raise InputError(f"slice: expected NUMBER*SLICE, got {given}")
    if several and num_slices not in (None, int(several)):
        raise InputError(
            f"num_slices: expected {several} as in {given}, got {num_slices}"
        )
    count = int(several or (1 if num_slices is None else num_slices))
    if count < 1:
        raise InputError(f"num_slices: expected >= 1, got {count}")
    name = f"{name}-1" if name in PREFIXES and not PREFIXES[name].is_tpu else name
    found = re.fullmatch(r"([a-z0-9]+)(?::(\d{1,4}(?:x\d{1,4})+)|-(\d{1,6}))", name)
    if found is None or found[1] not in PREFIXES:
        known = ", ".join(sorted(PREFIXES))
        raise InputError(
            f"slice: expected a topology as v5p:4x4x4, or an accelerator type as "
            f"v5p-128, of {known}; got {given}"
        )
    generation = PREFIXES[found[1]]
    if found[2]:
        topology = tuple(map(int, found[2].split("x")))
        _check_topology(generation, topology, given)
    else:
        topology = _of_number(generation, int(found[3]), given)
    return Slice(generation, topology, count)


def lane_topology(generation: Generation, chips: int) -> tuple[int, ...]:
    """Where a few chips of one host stand: 2x2x1 for four of v5p."""
    shapes = {1: (1, 1), 2: (1, 2), 4: (2, 2), 8: (2, 4)}
    if chips not in shapes or chips > generation.chips_alone:
        most = generation.chips_alone
        raise InputError(
            f"tensor: expected a power of 2 up to the {most} chips of a host of "
            f"{generation.name}, got {chips}"
        )
    return shapes[chips] + (1,) * (generation.axes - 2)


def _check_topology(
    generation: Generation, topology: tuple[int, ...], given: str
) -> None:
    """Refuse what no host tiles, which JAX's topologies refuse as well."""
    if not generation.is_tpu:
        _of_number(generation, 0, given)
    host = (2, 2, 1)[: generation.axes]
    tiled = len(topology) == generation.axes and all(
        size % step == 0 for size, step in zip(topology, host, strict=True)
    )
    small = len(topology) == generation.axes and math.prod(topology) in (1, 2)
    if not (min(topology) > 0 and (tiled or small)):
        rule = "even" if generation.axes == 2 else "the first two even"
        raise InputError(
            f"slice: expected {generation.name} with chips along {generation.axes} "
            f"axes, {rule}, as {', '.join(generation.usual)}; got {given}"
        )


def _of_number(generation: Generation, number: int, given: str) -> tuple[int, ...]:
    """The topology that Google Cloud takes for an accelerator type."""
    if not generation.is_tpu and 1 <= number <= 8:
        return (number,)
    by_number = {
        generation.counted * math.prod(shape): shape
        for shape in (tuple(map(int, name.split("x"))) for name in generation.usual)
    }
    if number not in by_number:
        what = "cores" if generation.counted == 2 else "chips"
        names = ", ".join(f"{generation.prefix}-{known}" for known in by_number)
        more = (
            f"; or a topology, as {generation.name}:{generation.usual[-1]}"
            if generation.is_tpu
            else ""
        )
        raise InputError(
            f"slice: expected {names} (the number counts {what}){more}; got {given}"
        )
    return by_number[number]
