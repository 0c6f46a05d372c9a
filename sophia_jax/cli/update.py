"""`sophia-jax update`: the second half of the loop, on what a collection kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.meshes import UpdateMeshes, roles_of
from sophia_jax.cli.options import (
    AnyPath,
    HostOptions,
    RunOptions,
    TraceOptions,
    UpdateOptions,
    leave_page,
    model_path,
)
from sophia_jax.config import Dtype

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display

__all__ = ["Update"]


@dataclass(frozen=True)
class Update:
    """Update a policy on the trajectories that `collect` kept; leaves RUN/model."""

    phase: Annotated[UpdateOptions, tyro.conf.OmitArgPrefixes]
    run_folder: Annotated[AnyPath, tyro.conf.arg(name="run")]
    """Folder of the collection; the model is written there."""
    policy: str | None = None
    """Folder (or owner/name) of the start; None for what wrote the captions."""
    seed: int = 0
    """Of the order of the trajectories."""
    dtype: Dtype = "float32"
    """Of the models' weights; bfloat16 takes half the memory. What learns in bfloat16
    has float32 copies, unless it is adapters, which are float32."""
    restart: Annotated[RunOptions, tyro.conf.OmitArgPrefixes] = RunOptions()
    trace: Annotated[TraceOptions, tyro.conf.OmitArgPrefixes] = TraceOptions()
    meshes: Annotated[UpdateMeshes, tyro.conf.OmitArgPrefixes] = UpdateMeshes()
    hosts: Annotated[HostOptions, tyro.conf.OmitArgPrefixes] = HostOptions()

    @property
    def folder(self) -> Path:
        return self.run_folder

    def run(self, display: Display) -> None:
        from sophia_jax.recipes.update import update

        update(
            self.run_folder,
            self.phase.config(self.seed, self.dtype, roles_of(self.meshes)),
            policy=None if self.policy is None else model_path(self.policy),
            **asdict(self.restart),
            track=display.track,
            say=display.say,
        )
        display.say(f"model      {self.run_folder / 'model'}")
        leave_page(self.run_folder, display)
