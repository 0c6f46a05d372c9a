"""InternVL3-38B and QwQ-32B take turns on 64 chips of v5p.

    sophia-jax plan --config tpu_configs/internvl3_38b_v5p_128.py

Slice: v5p-128 (v5p:4x4x4), 64 chips on 16 hosts.
Compiled; of a chip at its fullest, and the least seconds of a step:

    policy loading    17.89 of 95.73 GiB  fits  0.0139 s  memory
    image encoding    18.30 of 95.73 GiB  fits  0.209 s  compute
    caption prefill   20.40 of 95.73 GiB  fits  0.287 s  compute
    caption decode    76.32 of 95.73 GiB  fits  0.0218 s  compute
    reasoner loading  15.27 of 95.73 GiB  fits  0.0119 s  memory
    reasoner prefill  17.69 of 95.73 GiB  fits  0.283 s  compute
    reasoner decode   68.20 of 95.73 GiB  fits  0.0142 s  memory
    moving weights    18.21 of 95.73 GiB  fits  0.03 s  network
    policy update     20.93 of 95.73 GiB  fits  30.3 s  compute

The round: at least 2,145 chip-hours.
With python 3.11.7, sophia-jax 0.1.0, jax 0.10.2, libtpu 0.0.52.
"""

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
