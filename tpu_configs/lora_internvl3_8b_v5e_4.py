"""Adapters of InternVL3-8B learn on 4 chips of v5e; its reasoner is on a server.

    sophia-jax plan --config tpu_configs/lora_internvl3_8b_v5e_4.py

Slice: v5litepod-4 (v5e:2x2), 4 chips on 1 host.
Compiled; of a chip at its fullest, and the least seconds of a step:

    policy loading     3.71 of 15.75 GiB  fits  0.00971 s  memory
    image encoding     3.88 of 15.75 GiB  fits  0.03 s  compute
    caption prefill    4.18 of 15.75 GiB  fits  0.142 s  compute
    caption decode    13.38 of 15.75 GiB  fits  0.00962 s  memory
    moving weights     4.62 of 15.75 GiB  fits  0 s  compute
    policy update     14.92 of 15.75 GiB  fits  195 s  compute

The round: at least 27 chip-hours.
With python 3.11.7, sophia-jax 0.1.0, jax 0.10.2, libtpu 0.0.52.
"""

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
