"""Checkpoints by orbax: the state and the position in the data, together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from sophia_jax.paths import resolved
from sophia_jax.training.step import TrainState
from sophia_jax.types import InputError

__all__ = ["Checkpoints"]


class Checkpoints:
    """A folder of checkpoints; the newest `max_to_keep` stay.

    A checkpoint appears whole or not at all; it is written while training goes on.

    Args:
      folder: made if it does not exist.
      max_to_keep: older ones are deleted.
    """

    def __init__(self, folder: Path, *, max_to_keep: int = 1):
        self._folder = folder
        self._manager = ocp.CheckpointManager(
            resolved(folder),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=max_to_keep, cleanup_tmp_directories=True
            ),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "data": ocp.JsonCheckpointHandler(),
            },
        )

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
        """The newest checkpoint, in the shape of `state`; None if there is none.

        Raises:
          InputError: it is of another model or optimizer; names every difference.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _as_dict(state))
        self._check_shapes(step, abstract)
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

    def _check_shapes(self, step: int, expected: dict) -> None:
        stored = _shapes(self._manager.item_metadata(step).state.tree)
        expected = _shapes(expected)
        differences = [
            f"{name} {expected.get(name, 'nothing')}, got {stored.get(name, 'nothing')}"
            for name in sorted(expected.keys() | stored.keys())
            if expected.get(name) != stored.get(name)
        ]
        if differences:
            raise InputError(
                f"{self._folder / str(step)}: expected a checkpoint of this model and "
                f"optimizer: {'; '.join(differences)}"
            )


def _as_dict(state: TrainState) -> dict:
    return {"params": state.params, "opt_state": state.opt_state, "step": state.step}


def _shapes(tree: dict) -> dict[str, str]:
    """ "float32[2, 3]" for each array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in leaves
    }
