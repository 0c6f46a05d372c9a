"""What one chip can do, by generation, as its makers publish it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

__all__ = ["GENERATIONS", "Generation"]


@dataclass(frozen=True)
class Generation:
    """One kind of chip; all rates are peaks that no program exceeds.

    Attributes:
      name: in topologies, as in v5p:4x4x4.
      prefix: in accelerator types, as in v5litepod-16.
      counted: what the number in an accelerator type counts for each chip; 2 where it
        counts TensorCores.
      axes: of the network within a slice.
      chips_per_host: of a slice of several hosts.
      chips_alone: of the largest slice that is one host.
      hbm_gib: of memory, in GiB, as published; programs get a little less.
      flops: bfloat16 operations a second.
      hbm_rate: bytes a second from and to memory.
      ici_rate: bytes a second that a chip can receive over all of its links.
      dcn_rate: bytes a second of a chip's share in its host's network.
      usual: topologies that the makers list.
      device_kinds: JAX's names of a device.
      sources: where the numbers are published.
    """

    name: str
    prefix: str
    counted: int
    axes: int
    chips_per_host: int
    chips_alone: int
    hbm_gib: float
    flops: float
    hbm_rate: float
    ici_rate: float
    dcn_rate: float
    usual: tuple[str, ...]
    device_kinds: tuple[str, ...]
    sources: str

    @property
    def is_tpu(self) -> bool:
        return self.axes > 0


_CUBES = (
    ["2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8"]
    + ["8x8x16", "8x16x16", "16x16x16"]
)  # fmt: skip
_SQUARES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_DOCS = "https://cloud.google.com/tpu/docs"

# Published link rates are of both directions together where "bidirectional" is said
# (v5e, v5p, v6e): a chip receives at half of that. The decimal GB of v5e and v6e are
# GiB in truth: the compiler has 15.75 and 31.25 of them to give.
_V4 = Generation(
    name="v4",
    prefix="v4",
    counted=2,
    axes=3,
    chips_per_host=4,
    chips_alone=4,
    hbm_gib=32,
    flops=275e12,
    hbm_rate=1200e9,
    ici_rate=300e9,  # 6 links of 50 GB/s in each direction
    dcn_rate=3.125e9,
    usual=tuple(_CUBES),
    device_kinds=("TPU v4",),
    sources=(
        f"{_DOCS}/v4; links: https://arxiv.org/abs/2304.01433; its share of the "
        "data-centre network is not published: v5e's is taken"
    ),
)
_V5E = Generation(
    name="v5e",
    prefix="v5litepod",
    counted=1,
    axes=2,
    chips_per_host=4,
    chips_alone=8,
    hbm_gib=16,
    flops=197e12,
    hbm_rate=819e9,
    ici_rate=200e9,  # 400 GB/s, both directions
    dcn_rate=3.125e9,  # 6.4 Tb/s for 256 chips
    usual=_SQUARES,
    device_kinds=("TPU v5 lite", "TPU v5e"),
    sources=f"{_DOCS}/v5e",
)
_V5P = Generation(
    name="v5p",
    prefix="v5p",
    counted=2,
    axes=3,
    chips_per_host=4,
    chips_alone=4,
    hbm_gib=95,
    flops=459e12,
    hbm_rate=2765e9,
    ici_rate=600e9,  # 1200 GB/s, both directions
    dcn_rate=6.25e9,  # 50 Gb/s
    usual=(*_CUBES, "16x16x24"),
    device_kinds=("TPU v5", "TPU v5p"),
    sources=f"{_DOCS}/v5p",
)
_V6E = Generation(
    name="v6e",
    prefix="v6e",
    counted=1,
    axes=2,
    chips_per_host=4,
    chips_alone=8,
    hbm_gib=32,
    flops=918e12,
    hbm_rate=1638e9,
    ici_rate=400e9,  # 800 GB/s, both directions
    dcn_rate=12.5e9,  # 25.6 Tb/s for 256 chips
    usual=_SQUARES,
    device_kinds=("TPU v6 lite", "TPU v6e"),
    sources=f"{_DOCS}/v6e",
)
_H100 = Generation(
    name="h100",
    prefix="h100",
    counted=1,
    axes=0,
    chips_per_host=8,
    chips_alone=8,
    hbm_gib=80e9 / 2**30,
    flops=989e12,  # dense
    hbm_rate=3350e9,
    ici_rate=450e9,  # NVLink: 900 GB/s, both directions
    dcn_rate=50e9,  # one 400 Gb/s adapter for each GPU, as in DGX H100
    usual=("1", "2", "4", "8"),
    device_kinds=("NVIDIA H100 80GB HBM3",),
    sources="https://www.nvidia.com/en-us/data-center/h100 (SXM)",
)
_H200 = replace(
    _H100,
    name="h200",
    prefix="h200",
    hbm_gib=141e9 / 2**30,
    hbm_rate=4800e9,
    device_kinds=("NVIDIA H200",),
    sources="https://www.nvidia.com/en-us/data-center/h200 (SXM)",
)

GENERATIONS = MappingProxyType(
    {each.name: each for each in (_V4, _V5E, _V5P, _V6E, _H100, _H200)}
)
"""By name."""
