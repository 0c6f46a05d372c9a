"""Adapters of InternVL3-8B learn on one H100; its reasoner is on a server.

    sophia-jax plan --config tpu_configs/lora_internvl3_8b_h100.py

Slice: 1 H100.
Counted, not compiled; of a chip at its fullest, and the least seconds of a step:

    policy loading    14.81 of 74.51 GiB  fits  0.00949 s  memory
    image encoding    15.75 of 74.51 GiB  fits  0.0239 s  compute
    caption prefill   17.93 of 74.51 GiB  fits  0.113 s  compute
    caption decode    57.59 of 74.51 GiB  fits  0.00996 s  memory
    policy update     39.84 of 74.51 GiB  fits  155 s  compute

The round: at least 6 chip-hours.
With python 3.11.7, sophia-jax 0.1.0, jax 0.10.2, libtpu 0.0.52.
"""

from sophia_jax.config import LoraConfig
from sophia_jax.planning.run_plan import RunPlan

PLAN = RunPlan(
    policy="internvl3-8b",
    reasoner=None,
    slice="h100-1",
    lora=LoraConfig(rank=16),
)
