"""InternVL3-8B learns on 8 chips of v6e; its reasoner is on a server."""

from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.sharding import MeshConfig, Roles

PLAN = RunPlan(
    policy="internvl3-8b",
    reasoner=None,
    slice="v6e-8",
    roles=Roles(
        policy=MeshConfig(tensor=4),
        update=MeshConfig(fsdp=2, context=4),
    ),
)
