"""Which axes of arrays lie along which axes of the mesh."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sophia_jax.types import Array, InputError

__all__ = [
    "DECODING",
    "MeshAxes",
    "Partition",
    "ShardingRules",
    "TRAINING",
    "constrain",
]

MeshAxes = str | tuple[str, ...] | None
"""An axis of the mesh, several of them, the first one outermost, or none."""


@dataclass(frozen=True)
class ShardingRules:
    """For each logical axis the axes of the mesh that it is cut along.

    Attributes:
      layer: of stacked weights and caches.
      embed: of weights: the width of the residual stream.
      heads, kv_heads: of weights, activations and caches.
      mlp: of weights and activations.
      vocab: of embedding, head and logits.
      batch: rows, sequences and slots.
      token: of activations.
      learnt: tokens whose logits are formed.
      tile: of pictures, while they are encoded.
      vision: the vision tower's weights, along their longest side.
    """

    layer: MeshAxes = None
    embed: MeshAxes = None
    heads: MeshAxes = None
    kv_heads: MeshAxes = None
    mlp: MeshAxes = None
    vocab: MeshAxes = None
    batch: MeshAxes = None
    token: MeshAxes = None
    learnt: MeshAxes = None
    tile: MeshAxes = None
    vision: MeshAxes = None


# Weights and optimizer state are spread over all devices but copies; each layer's are
# gathered when it runs. Tiles are so many that they are simply dealt out.
TRAINING = ShardingRules(
    embed=("fsdp", "context"),
    heads="tensor",
    kv_heads="tensor",
    mlp="tensor",
    vocab="tensor",
    batch=("data", "fsdp"),
    token="context",
    learnt=("data", "fsdp", "context"),
    tile=("data", "fsdp", "tensor", "context"),
    vision=("fsdp", "tensor", "context"),
)

# Each token reads all weights: they stay where they are, and activations travel.
DECODING = ShardingRules(
    heads="tensor",
    kv_heads="tensor",
    mlp="tensor",
    vocab="tensor",
    batch=("data", "fsdp"),
    tile=("data", "fsdp", "tensor", "context"),
    vision="tensor",
)


@dataclass(frozen=True)
class Partition:
    """A mesh and the rules for it.

    Attributes:
      mesh: with the axes that the rules name.
      rules: of every logical axis.

    Raises:
      InputError: the mesh lacks an axis of the rules.
    """

    mesh: Mesh
    rules: ShardingRules

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self.rules):
            for axis in _names(getattr(self.rules, field.name)):
                if axis not in self.mesh.axis_names:
                    raise InputError(
                        f"rules: expected {field.name} along an axis of the mesh "
                        f"({', '.join(self.mesh.axis_names)}), got {axis!r}"
                    )

    def spec(self, *logical: str | None) -> PartitionSpec:
        """The axes of the mesh along each axis of an array; None is along none.

        A mesh axis serves the first of the array's axes that asks for it.
        """
        taken: set[str] = set()

        def axes_of(name: str | None) -> MeshAxes:
            asked = [] if name is None else _names(getattr(self.rules, name))
            free = tuple(axis for axis in asked if axis not in taken)
            taken.update(free)
            return (free[0] if len(free) == 1 else free) if free else None

        return PartitionSpec(*map(axes_of, logical))

    def sharding(self, *logical: str | None) -> NamedSharding:
        """Where an array with such axes lies."""
        return NamedSharding(self.mesh, self.spec(*logical))

    def constrain(self, x: Array, *logical: str | None) -> Array:
        """The same array, laid out so, within a compiled program."""
        return jax.lax.with_sharding_constraint(x, self.sharding(*logical))

    def ways(self, logical: str) -> int:
        """Into how many shares a logical axis is cut."""
        return math.prod(
            self.mesh.shape[axis] for axis in _names(getattr(self.rules, logical))
        )

    def check(self, sizes: Mapping[str, Iterable[tuple[str, int]]]) -> None:
        """Whether the axes of a model divide.

        Args:
          sizes: for each logical axis, what is cut along it and how long it is.

        Raises:
          InputError: some do not; names each with what would do.
        """
        problems = [
            f"{what} {size} over {self._named(logical)}={ways}; {_advice(size, ways)}"
            for logical, found in sizes.items()
            for what, size in found
            if size % (ways := self.ways(logical))
        ]
        if problems:
            raise InputError(
                f"mesh: expected axes that divide the model, got {'; '.join(problems)}"
            )

    def _named(self, logical: str) -> str:
        return "*".join(_names(getattr(self.rules, logical)))


def constrain(partition: Partition | None, x: Array, *logical: str | None) -> Array:
    """`Partition.constrain`; without a partition, the array as it is."""
    return x if partition is None else partition.constrain(x, *logical)


def _names(axes: MeshAxes) -> tuple[str, ...]:
    if axes is None:
        return ()
    return (axes,) if isinstance(axes, str) else axes


def _advice(size: int, ways: int) -> str:
    """The nearest sizes of the mesh that would do."""
    below = next(n for n in range(ways, 0, -1) if size % n == 0)
    above = next((n for n in range(ways, size + 1) if size % n == 0), None)
    nearest = f"{below} or {above}" if above else f"{below}"
    padded = -(-size // ways) * ways
    return f"{nearest} would divide it, and {ways} would divide {padded}"
