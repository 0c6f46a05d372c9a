"""InternVL3-8B learns on 16 chips of v5e; its reasoner is on a server.

    sophia-jax plan --config tpu_configs/internvl3_8b_v5e_16.py

Slice: v5litepod-16 (v5e:4x4), 16 chips on 4 hosts.
Compiled; of a chip at its fullest, and the least seconds of a step:

    policy loading     3.71 of 15.75 GiB  fits  0.00971 s  memory
    image encoding     3.88 of 15.75 GiB  fits  0.03 s  compute
    caption prefill    4.18 of 15.75 GiB  fits  0.142 s  compute
    caption decode    13.38 of 15.75 GiB  fits  0.00962 s  memory
    moving weights     3.95 of 15.75 GiB  fits  0.0149 s  network
    policy update     14.76 of 15.75 GiB  fits  63 s  compute

The round: at least 33 chip-hours.
With python 3.11.7, sophia-jax 0.1.0, jax 0.10.2, libtpu 0.0.52.
"""

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
