"""`sophia-jax train`: the whole loop, on one's own models and questions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sophia_jax.cli.meshes import AllMeshes, roles_of
from sophia_jax.cli.options import (
    AnyPath,
    HostOptions,
    RolloutOptions,
    RunOptions,
    TraceOptions,
    UpdateOptions,
    checked_options,
    leave_page,
)
from sophia_jax.cli.tables import rollout_line
from sophia_jax.config import Dtype

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display
    from sophia_jax.recipes.own_data import WarmUp
    from sophia_jax.recipes.phases import UpdateConfig

__all__ = ["Train"]


@dataclass(frozen=True)
class Train:
    """Collect, then update once, as in the paper; leaves OUT/model."""

    rollouts: Annotated[RolloutOptions, tyro.conf.OmitArgPrefixes]
    phase: Annotated[UpdateOptions, tyro.conf.OmitArgPrefixes]
    out: AnyPath
    """Folder of the run; must not exist, or see --resume and --force."""
    warm_up: str | None = None
    """Texts to imitate first, in any form of --data; None for no warm-up."""
    warm_up_num_steps: int | None = None
    """Updates of the warm-up; None for one pass."""
    warm_up_batch_size: int | None = None
    """Texts in an update of the warm-up; None for 512, or all if fewer."""
    seed: int = 0
    """Of all samples and orders."""
    dtype: Dtype = "float32"
    """Of the models' weights; bfloat16 takes half the memory. What learns in bfloat16
    has float32 copies, unless it is adapters, which are float32."""
    restart: Annotated[RunOptions, tyro.conf.OmitArgPrefixes] = RunOptions()
    trace: Annotated[TraceOptions, tyro.conf.OmitArgPrefixes] = TraceOptions()
    meshes: Annotated[AllMeshes, tyro.conf.OmitArgPrefixes] = AllMeshes()
    hosts: Annotated[HostOptions, tyro.conf.OmitArgPrefixes] = HostOptions()

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from sophia_jax.recipes.own_data import collect
        from sophia_jax.recipes.update import update

        roles = roles_of(self.meshes)
        phase = self.phase.config(self.seed, self.dtype, roles)
        summary = collect(
            self.out,
            self.rollouts.config(self.seed, self.dtype, roles, self._warm_up(phase)),
            **asdict(self.restart),
            track=display.track,
            say=display.say,
        )
        display.say(rollout_line(summary["rollouts"]))
        if not summary["rollouts"]["kept"]:
            leave_page(self.out, display)  # it shows why; the update refuses
        update(
            self.out,
            phase,
            skip_bad_rows=self.restart.skip_bad_rows,
            resume=self.restart.resume,
            track=display.track,
            say=display.say,
        )
        display.say(f"model      {self.out / 'model'}")
        leave_page(self.out, display)

    def _warm_up(self, phase: UpdateConfig) -> WarmUp | None:
        """With the rates of the update, since the paper gives none."""
        if self.warm_up is None:
            return None
        import dataclasses

        from sophia_jax.data.sources import resolve_source
        from sophia_jax.recipes.own_data import WarmUp

        with checked_options():
            return WarmUp(
                data=resolve_source(self.warm_up),
                phase=dataclasses.replace(
                    phase,
                    num_steps=self.warm_up_num_steps,
                    batch_size=self.warm_up_batch_size,
                    row_length=None,
                    mix=(),
                    trajectory_weight=1,
                ),
            )
