"""InternVL3-38B and QwQ-32B take turns on 64 chips of v6e.

    sophia-jax plan --config tpu_configs/internvl3_38b_v6e_64.py

Slice: v6e-64 (v6e:8x8), 64 chips on 16 hosts.
Compiled; of a chip at its fullest, and the least seconds of a step:

    policy loading    17.89 of 31.24 GiB  fits  0.0234 s  memory
    image encoding    18.40 of 31.24 GiB  fits  0.105 s  compute
    caption prefill   20.41 of 31.24 GiB  fits  0.143 s  compute
    caption decode    28.08 of 31.24 GiB  fits  0.0124 s  memory
    reasoner loading  15.27 of 31.24 GiB  fits  0.02 s  memory
    reasoner prefill  17.70 of 31.24 GiB  fits  0.141 s  compute
    reasoner decode   25.33 of 31.24 GiB  fits  0.0126 s  memory
    moving weights    18.21 of 31.24 GiB  fits  0.045 s  network
    policy update     21.35 of 31.24 GiB  fits  15.2 s  compute

The round: at least 9,292 chip-hours.
With python 3.11.7, sophia-jax 0.1.0, jax 0.10.2, libtpu 0.0.52.
"""

from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.sharding import MeshConfig, Roles

PLAN = RunPlan(
    policy="internvl3-38b",
    reasoner="qwq-32b",
    slice="v6e-64",
    roles=Roles(
        policy=MeshConfig(tensor=4),
        reasoner=MeshConfig(tensor=4),
        update=MeshConfig(fsdp=16, context=4),
    ),
)
