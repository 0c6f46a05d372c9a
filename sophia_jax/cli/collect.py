"""`sophia-jax collect`: the loop's first half, on one's own questions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.meshes import SamplingMeshes, roles_of
from sophia_jax.cli.options import (
    AnyPath,
    HostOptions,
    RolloutOptions,
    RunOptions,
    TraceOptions,
    leave_page,
)
from sophia_jax.cli.tables import rollout_line
from sophia_jax.config import Dtype

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display

__all__ = ["Collect"]


@dataclass(frozen=True)
class Collect:
    """Collect captions and reasonings, verify them, and select what to learn from."""

    rollouts: Annotated[RolloutOptions, tyro.conf.OmitArgPrefixes]
    out: AnyPath
    """Folder of the run; must not exist, or see --resume and --force."""
    seed: int = 0
    """Of all samples."""
    dtype: Dtype = "float32"
    """Of the models' weights; bfloat16 takes half the memory."""
    restart: Annotated[RunOptions, tyro.conf.OmitArgPrefixes] = RunOptions()
    trace: Annotated[TraceOptions, tyro.conf.OmitArgPrefixes] = TraceOptions()
    meshes: Annotated[SamplingMeshes, tyro.conf.OmitArgPrefixes] = SamplingMeshes()
    hosts: Annotated[HostOptions, tyro.conf.OmitArgPrefixes] = HostOptions()

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from sophia_jax.recipes.own_data import collect

        summary = collect(
            self.out,
            self.rollouts.config(self.seed, self.dtype, roles_of(self.meshes)),
            **asdict(self.restart),
            track=display.track,
            say=display.say,
        )
        display.say(rollout_line(summary["rollouts"]))
        leave_page(self.out, display)
