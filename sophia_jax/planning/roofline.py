"""How fast a chip can be at best: whichever of its parts takes longest."""

from __future__ import annotations

from dataclasses import dataclass

from sophia_jax.planning.collectives import Traffic
from sophia_jax.planning.counts import Work
from sophia_jax.planning.hardware import Generation

__all__ = ["Roofline", "roofline"]


@dataclass(frozen=True)
class Roofline:
    """The least seconds of each part of a chip, for one step of one program.

    Attributes:
      compute: matrix products at the peak rate.
      memory: reads and writes at the memory's bandwidth.
      network: what is received within a slice, over all links.
      between_slices: what is received over the data-centre network.
    """

    compute: float
    memory: float
    network: float
    between_slices: float

    @property
    def seconds(self) -> float:
        """t = max(FLOPs / peak, bytes / bandwidth, received / links)."""
        return max(vars(self).values())

    @property
    def limiter(self) -> str:
        """What takes so long."""
        return max(vars(self), key=vars(self).get).replace("_", " ")


def roofline(work: Work, traffic: Traffic, chip: Generation) -> Roofline:
    """The bound of Williams et al., 2009, with the network beside the memory.

    Args:
      work: of one chip, in one step.
      traffic: likewise.
      chip: whose peaks are taken.

    Reference:
      Williams et al., 2009, "Roofline: an insightful visual performance model",
      https://doi.org/10.1145/1498765.1498785.
    """
    return Roofline(
        compute=work.flops / chip.flops,
        memory=work.hbm_bytes / chip.hbm_rate,
        network=traffic.ici_bytes / chip.ici_rate,
        between_slices=traffic.dcn_bytes / chip.dcn_rate,
    )
