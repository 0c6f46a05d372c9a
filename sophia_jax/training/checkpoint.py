"""Checkpoints by orbax: the state and the position in the data, together."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import orbax.checkpoint as ocp

from sophia_jax.paths import resolved
from sophia_jax.sharding.together import all_agree, is_first
from sophia_jax.training.fingerprint import fingerprint
from sophia_jax.training.retention import Kept
from sophia_jax.training.step import TrainState
from sophia_jax.types import InputError

__all__ = ["Checkpoints"]

MOST_TOLD = 200  # characters of what is wrong with a checkpoint

# Orbax mixes up what two managers of one process write at the same time: a folder of
# one is made twice, and of the other not at all.
_SAVING = threading.Lock()

# What says nothing about the files: such an error is no damage.
OF_THE_MACHINE = (MemoryError, PermissionError, jax.errors.JaxRuntimeError)


class Checkpoints:
    """A folder of checkpoints; the newest `max_to_keep` stay, and the best one.

    A checkpoint appears whole or not at all; it is written while training goes on. It
    holds what is trained, the optimizer's state, the step, and the position in the
    data. What is frozen is in the model that training began with, and is not written
    again: the checkpoint names that model by the fingerprint of its weights. It is
    restored to where the given state lies, on whatever mesh and number of processes.

    Args:
      folder: made if it does not exist.
      base: fingerprint of the weights that training began with.
      max_to_keep: older ones are deleted.
      keep_best: one of `METRICS`, of which the best checkpoint stays too; or None.

    Raises:
      ValueError: a value is none of these.
    """

    _num_open: ClassVar[int] = 0

    def __init__(
        self,
        folder: Path,
        *,
        base: str,
        max_to_keep: int = 2,
        keep_best: str | None = None,
    ):
        self._folder = folder
        self._base = base
        with _SAVING:
            Checkpoints._num_open += 1
        self._kept = Kept(folder, max_to_keep, keep_best)
        self._manager = ocp.CheckpointManager(
            resolved(folder),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._kept, cleanup_tmp_directories=True
            ),
            item_handlers={
                "state": ocp.StandardCheckpointHandler(),
                "data": ocp.JsonCheckpointHandler(),
                "metadata": ocp.JsonCheckpointHandler(),
            },
        )

    def save(
        self,
        step: int,
        state: TrainState,
        data: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Begin to write the state after `step` updates, and where the data stands.

        Args:
          step: updates made so far.
          state: after them.
          data: what is needed to go on with the data; JSON.
          metrics: with that of `keep_best`.
        """
        content = _content(state)
        metadata = {
            "base": self._base,
            "fingerprint": fingerprint(content),
            "processes": jax.process_count(),
            "devices": jax.device_count(),
            "metrics": dict(metrics or {}),
        }
        self._kept.metrics[step] = metadata["metrics"]
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(content),
            data=ocp.args.JsonSave(dict(data)),
            metadata=ocp.args.JsonSave(metadata),
        )
        with _SAVING:
            self._manager.save(step, args=args)
            if Checkpoints._num_open > 1:  # trainings side by side, in threads
                self._manager.wait_until_finished()

    def restore(self, state: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint that is whole, in the shape and places of `state`.

        One that is damaged is passed over with a warning, and set aside.

        Returns:
          The state and the position in the data; None if there is no checkpoint.

        Raises:
          InputError: it is of another model or optimizer (names every difference), or
            none is whole.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            stored, reason = self._try(step, _content(state))
            # What is read alone comes first: of the rest no process may do a part.
            if all_agree(stored is not None):
                found = fingerprint(stored.content)
                if all_agree(found == stored.fingerprint):
                    self._set_aside(damaged)
                    return stored.put_into(state), stored.data
                reason = f"expected the fingerprint {stored.fingerprint}, got {found}"
            damaged[step] = reason or "another process cannot read its share"
        if damaged:
            raise InputError(
                f"{self._folder}: expected a whole checkpoint, got damaged ones only "
                f"({_listed(damaged)}); delete the folder to begin anew"
            )
        return None

    def best_step(self) -> int | None:
        """The step of the best checkpoint by `keep_best`."""
        return self._kept.best(self._manager.all_steps())

    def close(self) -> None:
        """Wait until everything is on the disk."""
        with _SAVING:
            Checkpoints._num_open -= 1
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        """Close; but if something failed here or there, wait for no other process."""
        if jax.process_count() == 1 or not isinstance(error, Exception):
            self.close()

    def _try(self, step: int, content: dict) -> tuple[_Stored | None, str]:
        """What this process reads of a checkpoint; or what is wrong with it."""
        try:
            return self._read(step, content), ""
        except (InputError, *OF_THE_MACHINE):
            raise
        except Exception as error:  # orbax has no type for what is damaged
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return None, reason[:MOST_TOLD]

    def _read(self, step: int, content: dict) -> _Stored:
        # By the handlers: the manager's own `restore` waits for all processes in the
        # end, whereas one that cannot read its share has left it before.
        path = resolved(self._folder) / str(step)
        metadata = ocp.JsonCheckpointHandler().restore(path / "metadata")
        base, expected = metadata["base"], metadata["fingerprint"]
        self._check_shapes(step, content)
        if base != self._base:
            raise InputError(
                f"{self._folder / str(step)}: expected a checkpoint of the model that "
                f"is given, got one of a model of other weights (fingerprint {base}, "
                f"not {self._base})"
            )
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, content)
        read = ocp.StandardCheckpointHandler().restore(
            path / "state", args=ocp.args.StandardRestore(abstract)
        )
        data = ocp.JsonCheckpointHandler().restore(path / "data")
        return _Stored(read, data, expected)

    def _check_shapes(self, step: int, content: dict) -> None:
        stored = _shapes(self._manager.item_metadata(step).state.tree)
        expected = _shapes(content)
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

    def _set_aside(self, damaged: Mapping[int, str]) -> None:
        """Let the damaged ones not count as the newest; nothing is deleted."""
        for step, reason in damaged.items():
            path = self._folder / str(step)
            names = itertools.chain([""], map("-{}".format, itertools.count(2)))
            asides = (path.with_name(f"damaged-{step}{name}") for name in names)
            aside = next(aside for aside in asides if not aside.exists())
            if all_agree(True) and is_first():
                path.rename(aside)
            warnings.warn(
                f"{path}: expected a whole checkpoint ({reason}); it is set aside as "
                f"{aside.name}, and the run goes on from the one before",
                stacklevel=3,
            )
        if damaged and all_agree(True):  # it is done
            self._manager.reload()


@dataclasses.dataclass(frozen=True)
class _Stored:
    """What a checkpoint holds.

    Attributes:
      content: as of `_content`; each process has its share.
      data: the position in the data.
      fingerprint: of the content, when it was saved.
    """

    content: dict
    data: dict[str, Any]
    fingerprint: str

    def put_into(self, state: TrainState) -> TrainState:
        """The state as it was saved, with the frozen parts of this one."""
        rest = dict(self.content)
        params = state.params | rest.pop("learnt")
        return dataclasses.replace(state, params=params, **rest)


def _content(state: TrainState) -> dict:
    learnt = {part: state.params[part] for part in state.trainable}
    return {"learnt": learnt, "opt_state": state.opt_state, "step": state.step}


def _shapes(tree: dict) -> dict[str, str]:
    """ "float32[2, 3]" for each array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{leaf.dtype}{list(leaf.shape)}"
        )
        for path, leaf in leaves
    }


def _listed(damaged: Mapping[int, str]) -> str:
    return "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
