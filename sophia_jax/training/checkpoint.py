"""Checkpoints by orbax: the state and the position in the data, together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from sophia_jax.training.step import TrainState

__all__ = ["Checkpoints"]


class Checkpoints:
    """A folder of checkpoints; the newest `max_to_keep` stay.

    A checkpoint appears whole or not at all; it is written while training goes on.

    Args:
      folder: made if it does not exist.
      max_to_keep: older ones are deleted.
    """

    def __init__(self, folder: Path, *, max_to_keep: int = 1):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=max_to_keep, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, step: int, state: TrainState, data: dict[str, Any]) -> None:
        """Begin to write the state after `step` updates, and where the data stands."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_as_dict(state)),
                data=ocp.args.JsonSave(data),
            ),
        )

    def restore(self, state: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint, in the shape of `state`; None if there is none."""
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _as_dict(state))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
            ),
        )
        return dataclasses.replace(state, **restored.state), restored.data

    def close(self) -> None:
        """Wait until everything is on the disk."""
        self._manager.wait_until_finished()
        self._manager.close()


def _as_dict(state: TrainState) -> dict:
    return {"params": state.params, "opt_state": state.opt_state, "step": state.step}
