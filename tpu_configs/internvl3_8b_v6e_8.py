"""InternVL3-8B learns on 8 chips of v6e; its reasoner is on a server.

    sophia-jax plan --config tpu_configs/internvl3_8b_v6e_8.py

Slice: v6e-8 (v6e:2x4), 8 chips on 1 host.
Compiled; of a chip at its fullest, and the least seconds of a step:

    policy loading     3.71 of 31.24 GiB  fits  0.00485 s  memory
    image encoding     3.80 of 31.24 GiB  fits  0.00321 s  compute
    caption prefill    4.25 of 31.24 GiB  fits  0.0304 s  compute
    caption decode    25.07 of 31.24 GiB  fits  0.00822 s  memory
    moving weights     4.18 of 31.24 GiB  fits  0.00496 s  network
    policy update     26.19 of 31.24 GiB  fits  27 s  compute

The round: at least 8 chip-hours.
With python 3.11.7, sophia-jax 0.1.0, jax 0.10.2, libtpu 0.0.52.
"""

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
