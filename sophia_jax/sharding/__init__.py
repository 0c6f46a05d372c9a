"""Meshes of devices, and which axis of an array lies along which of theirs."""

from sophia_jax.sharding.mesh import MESH_AXES, make_mesh
from sophia_jax.sharding.rules import DECODING, TRAINING, Partition, ShardingRules

__all__ = [
    "DECODING",
    "MESH_AXES",
    "Partition",
    "ShardingRules",
    "TRAINING",
    "make_mesh",
]
