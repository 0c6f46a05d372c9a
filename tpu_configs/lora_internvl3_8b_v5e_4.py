"""Adapters of InternVL3-8B learn on 4 chips of v5e; its reasoner is on a server."""

from sophia_jax.config import LoraConfig
from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.sharding import MeshConfig, Roles

PLAN = RunPlan(
    policy="internvl3-8b",
    reasoner=None,
    slice="v5e-4",
    roles=Roles(
        policy=MeshConfig(tensor=4),
        update=MeshConfig(context=4),
    ),
    lora=LoraConfig(rank=16),
)
