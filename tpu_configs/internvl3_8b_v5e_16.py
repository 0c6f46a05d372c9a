"""InternVL3-8B learns on 16 chips of v5e; its reasoner is on a server."""

from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.sharding import MeshConfig, Roles

PLAN = RunPlan(
    policy="internvl3-8b",
    reasoner=None,
    slice="v5e-16",
    roles=Roles(
        policy=MeshConfig(tensor=4),
        update=MeshConfig(fsdp=4, context=4),
    ),
)
