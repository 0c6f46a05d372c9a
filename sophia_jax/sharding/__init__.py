"""Meshes of devices, and which axis of an array lies along which of theirs."""

from sophia_jax.sharding.mesh import MESH_AXES, make_mesh
from sophia_jax.sharding.roles import MeshConfig, Roles, parse_mesh
from sophia_jax.sharding.rules import DECODING, TRAINING, Partition, ShardingRules

__all__ = [
    "DECODING",
    "MESH_AXES",
    "MeshConfig",
    "Partition",
    "Roles",
    "ShardingRules",
    "TRAINING",
    "make_mesh",
    "parse_mesh",
]
