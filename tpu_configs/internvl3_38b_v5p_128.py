"""InternVL3-38B and QwQ-32B take turns on 64 chips of v5p."""

from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.sharding import MeshConfig, Roles

PLAN = RunPlan(
    policy="internvl3-38b",
    reasoner="qwq-32b",
    slice="v5p-128",
    roles=Roles(
        policy=MeshConfig(tensor=4),
        reasoner=MeshConfig(tensor=4),
        update=MeshConfig(fsdp=16, context=4),
    ),
)
