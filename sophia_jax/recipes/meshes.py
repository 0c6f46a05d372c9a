"""Models on the devices of their roles."""

from __future__ import annotations

import math
from pathlib import Path

from sophia_jax.config import Dtype
from sophia_jax.models.folder import describe_model, load_model
from sophia_jax.models.model import Model
from sophia_jax.models.moving import move_model
from sophia_jax.sharding import MeshConfig, Partition
from sophia_jax.sharding.roles import sampling_partition
from sophia_jax.types import Track, untracked

__all__ = ["load_for_sampling", "moved_to_learn"]


def load_for_sampling(
    path: str | Path,
    mesh: MeshConfig | None,
    *,
    learns_on: Partition | None = None,
    dtype: Dtype = "float32",
    track: Track = untracked,
) -> Model:
    """A model where it is sampled.

    Args:
      path: as of `load_model`.
      mesh: of its role.
      learns_on: where it will be moved to; its vocabulary is padded for both.
      dtype: of its weights.
      track: shows how fast they come.

    Raises:
      InputError: it cannot be loaded, or the mesh does not divide it.
    """
    partition = sampling_partition(
        mesh, num_kv_heads=lambda: describe_model(path).config.text.num_kv_heads
    )
    ways = [each.ways("vocab") for each in (partition, learns_on) if each is not None]
    settings = {"vocab_multiple": math.lcm(*ways), "dtype": dtype, "track": track}
    if partition is None:
        return load_model(path, **settings)
    return load_model(path, mesh=partition.mesh, rules=partition.rules, **settings)


def moved_to_learn(
    policy: Model, partition: Partition | None, *, still_encodes: bool = False
) -> Model:
    """The policy where it learns; its decoder is given up where it was.

    Args:
      policy: where it is sampled.
      partition: where it goes; None leaves it where it is.
      still_encodes: its vision tower is needed there as well.
    """
    if partition is None or partition == policy.partition:
        return policy
    parts = ("decoder",) if still_encodes else tuple(policy.params)
    return move_model(policy, partition, donate=parts)
