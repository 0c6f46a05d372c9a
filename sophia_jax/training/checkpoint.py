"""Checkpoints by orbax: the state and the position in the data, together."""

from __future__ import annotations

import dataclasses
import itertools
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PreservationPolicy

from sophia_jax.paths import resolved
from sophia_jax.sharding.together import all_agree, is_first
from sophia_jax.training.fingerprint import fingerprint
from sophia_jax.training.step import TrainState
from sophia_jax.types import InputError

__all__ = ["Checkpoints"]

METRICS = {
    "loss": "lowest",
    "gradient_norm": "lowest",
    "mean_log_prob": "highest",
}
"""By which a checkpoint may be the best, and what is best of each."""

MOST_TOLD = 200  # characters of what is wrong with a checkpoint

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
        self._kept = _Kept(folder, max_to_keep, keep_best)
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
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(content),
                data=ocp.args.JsonSave(dict(data)),
                metadata=ocp.args.JsonSave(metadata),
            ),
        )

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
            restored, reason = self._try(step, state)
            if all_agree(restored is not None):
                self._set_aside(damaged)
                return restored
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
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        """Close, unless another process died: what it was writing never ends."""
        alone = jax.process_count() == 1
        if alone or not isinstance(error, jax.errors.JaxRuntimeError):
            self.close()

    def _try(
        self, step: int, state: TrainState
    ) -> tuple[tuple[TrainState, dict[str, Any]] | None, str]:
        """What a checkpoint holds; or what is wrong with it."""
        try:
            return self._restore(step, state), ""
        except (InputError, *OF_THE_MACHINE):
            raise
        except Exception as error:  # orbax has no type for what is damaged
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return None, reason[:MOST_TOLD]

    def _restore(
        self, step: int, state: TrainState
    ) -> tuple[TrainState, dict[str, Any]]:
        path, content = self._folder / str(step), _content(state)
        metadata = self._manager.restore(
            step, args=ocp.args.Composite(metadata=ocp.args.JsonRestore())
        ).metadata
        base, expected = metadata["base"], metadata["fingerprint"]
        self._check_shapes(step, content)
        if base != self._base:
            raise InputError(
                f"{path}: expected a checkpoint of the model that is given, got one of "
                f"a model of other weights (fingerprint {base}, not {self._base})"
            )
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, content)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()
            ),
        )
        if (found := fingerprint(restored.state)) != expected:
            raise ValueError(f"expected the fingerprint {expected}, got {found}")
        learnt = restored.state.pop("learnt")
        params = state.params | learnt
        return dataclasses.replace(
            state, params=params, **restored.state
        ), restored.data

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


class _Kept(PreservationPolicy):
    """The newest checkpoints and the best one.

    Orbax's own notes of metrics are not used: a damaged one keeps its folder shut.

    Attributes:
      metrics: of each step, as far as they are known.
    """

    def __init__(self, folder: Path, max_to_keep: int, keep_best: str | None):
        if max_to_keep < 1:
            raise ValueError(f"max_to_keep: expected >= 1, got {max_to_keep}")
        if keep_best not in (None, *METRICS):
            raise ValueError(
                f"keep_best: expected one of {list(METRICS)}, got {keep_best}"
            )
        self._max_to_keep = max_to_keep
        self._keep_best = keep_best
        self.metrics: dict[int, Mapping[str, float]] = {
            int(path.parent.parent.name): _read_metrics(path)
            for path in folder.glob("*/metadata/metadata")
            if path.parent.parent.name.isdecimal()
        }

    def should_preserve(
        self, checkpoints: Sequence, *, context: object
    ) -> Sequence[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = {*sorted(steps)[-self._max_to_keep :], self.best(steps)}
        return [step in kept for step in steps]

    def best(self, steps: Sequence[int]) -> int | None:
        """The best of some steps; the newest of equals."""
        sign = -1 if METRICS.get(self._keep_best) == "lowest" else 1
        values = {
            step: (sign * self.metrics[step][self._keep_best], step)
            for step in steps
            if self._keep_best in self.metrics.get(step, {})
        }
        return max(values, key=values.get, default=None)


def _read_metrics(path: Path) -> Mapping[str, float]:
    """Of a checkpoint; nothing where it is damaged, which is found when it is read."""
    try:
        metrics = json.loads(path.read_text())["metrics"]
        return {name: float(value) for name, value in metrics.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


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
