"""The training loop: data in, updates, metrics and checkpoints out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain.python as grain
import jax

from sophia_jax.config import OptimizerConfig, Remat
from sophia_jax.data.packing import Group
from sophia_jax.models.model import Model
from sophia_jax.models.remat import check_remat
from sophia_jax.sharding.order import in_order
from sophia_jax.training import objectives
from sophia_jax.training.checkpoint import Checkpoints
from sophia_jax.training.feeding import feed, packed_batches
from sophia_jax.training.fingerprint import fingerprint
from sophia_jax.training.optimizer import learning_rate, make_optimizer
from sophia_jax.training.retention import METRICS
from sophia_jax.training.step import (
    Measure,
    Objective,
    TrainState,
    init_state,
    train_step,
)
from sophia_jax.training.steps import Signalled, Stepped, run_steps
from sophia_jax.types import Array, InputError, Track, untracked

__all__ = ["TrainingConfig", "open_checkpoints", "train"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a phase of updates runs.

    Attributes:
      optimizer: its steps are the phase's length.
      batch_size: examples in an update. The paper's is 512.
      row_length: the most tokens in a packed row; no example may be longer.
      micro_batches: equal parts of an update, whose activations are never held
        together; the update is the same.
      trainable: parts that learn; the paper's best setting is the decoder alone.
      seed: of the order of the examples.
      checkpoint_every: updates between checkpoints.
      keep_checkpoints: the newest that stay; with two, a damaged one costs little.
      keep_best: the metric of which the best checkpoint stays too, as of
        `Checkpoints`: its mean over the updates since the one before; or None.
      remat: which activations the backward pass forms again, to save memory: "none",
        all within a layer ("block"), or all but its projections and attention
        ("projections"), which takes less time and more memory.
    """

    optimizer: OptimizerConfig
    batch_size: int = 512
    row_length: int = 4096
    micro_batches: int = 1
    trainable: tuple[str, ...] = ("decoder",)
    seed: int = 0
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    keep_best: str | None = None
    remat: Remat = "none"

    def __post_init__(self) -> None:
        sizes = ("batch_size", "row_length", "checkpoint_every", "keep_checkpoints")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected > 0, got {getattr(self, name)}")
        check_remat(self.remat)
        if not 0 < self.micro_batches <= self.batch_size:
            raise ValueError(
                f"micro_batches: expected between 1 and batch_size={self.batch_size}, "
                f"got {self.micro_batches}"
            )
        if self.keep_best not in (None, *METRICS):
            raise ValueError(
                f"keep_best: expected one of {', '.join(METRICS)}, got {self.keep_best}"
            )

    @property
    def micro_batch_size(self) -> int:
        """The most examples whose activations are held together."""
        return -(-self.batch_size // self.micro_batches)


def train(
    model: Model,
    examples: Sequence[Any],
    objective: Objective,
    config: TrainingConfig,
    folder: Path,
    *,
    make_example: Callable[[Any], Group] = lambda example: example,
    measure: Measure = objectives.off_policy_measures,
    watch: Callable[[int, Model], None] | None = None,
    track: Track = untracked,
    description: str = "updates",
) -> Model:
    """Update a model on examples, epoch after epoch.

    A killed phase goes on from its newest checkpoint in `folder`, with the examples
    that it had not seen, and ends with the same weights. One that is told to stop
    saves a checkpoint at its next update.

    Args:
      model: where to start; it is left as it is.
      examples: a random-access source, in a new order in each epoch; or an endless
        grain data set, in its own order.
      objective: what is minimised, of `objectives` or one's own.
      config: of the phase.
      folder: of checkpoints and metrics.
      make_example: turns an element of the source into an example, or into a group of
        them; `batch_size` counts elements.
      measure: what is logged beside the loss.
      watch: is shown (number of updates made, the model) before each update, whose
        weights it cannot keep: to measure on held-out data, say.
      track: shows the updates.
      description: what `track` calls them.

    Returns:
      The updated model.

    Raises:
      InputError: there are no examples; an example is refused by `pack_examples`; or
        the folder's checkpoint is of another run.
      ValueError: a grain data set ends before the phase does; or of several processes
        each has a model of its own.
      FloatingPointError: loss or gradient is not finite; names the update.
      Preempted: it was told to stop, and has saved what it did.
    """
    _check_examples(examples, config)
    state = init_state(
        model,
        make_optimizer(config.optimizer),
        objective=objective,
        measure=measure,
        trainable=config.trainable,
        remat=config.remat,
    )
    if jax.process_count() > 1 and model.partition is None:
        raise ValueError("model: expected one on a mesh of all processes, got none")
    state = run_steps(
        state,
        lambda signalled: _Updates(
            iter(_batches(model, examples, config, make_example)),
            learning_rate(config.optimizer),
            model,
            watch,
            signalled,
        ),
        num_steps=config.optimizer.num_steps,
        folder=folder,
        open_checkpoints=functools.partial(open_checkpoints, model, config, folder),
        checkpoint_every=config.checkpoint_every,
        track=track,
        description=description,
    )
    return dataclasses.replace(model, params=state.params)


class _Updates:
    """`Steps` of one update each, on batches that come in their turn."""

    def __init__(
        self,
        batches: grain.DatasetIterator,
        rate: Callable[[int], Array],
        model: Model,
        watch: Callable[[int, Model], None] | None,
        signalled: Signalled,
    ):
        self._batches = batches
        self._rate = rate
        self._model = model
        self._watch = watch
        self._fed = feed(batches, model.partition, signalled)

    def resume(self, state: TrainState, position: dict) -> int:
        self._batches.set_state(position)
        return int(state.step)

    def __call__(self, number: int, state: TrainState) -> Stepped:
        batch, position, stop = next(self._fed)
        if self._watch is not None:
            self._watch(number, dataclasses.replace(self._model, params=state.params))
        with in_order(self._model.partition):  # pictures are encoded beside it
            state, metrics = train_step(state, batch)
        rate = {"learning_rate": self._rate(number)}
        return Stepped(state, metrics | rate, position, stop)

    def close(self) -> None:
        self._batches.close()


def _check_examples(examples: Sequence[Any], config: TrainingConfig) -> None:
    """That there is something to learn from until the phase ends."""
    if not len(examples):
        raise InputError("examples: expected at least one to learn from, got none")
    needed = config.optimizer.num_steps * config.batch_size
    if isinstance(examples, grain.MapDataset) and len(examples) < needed:
        raise ValueError(
            f"examples: expected an endless data set, or {needed} and more, "
            f"got {len(examples)}"
        )


def _batches(
    model: Model,
    examples: Sequence[Any],
    config: TrainingConfig,
    make_example: Callable[[Any], Group],
) -> grain.IterDataset:
    return packed_batches(
        model,
        examples,
        batch_size=config.batch_size,
        row_length=config.row_length,
        micro_batches=config.micro_batches,
        seed=config.seed,
        make_example=make_example,
    )


def open_checkpoints(model: Model, config: TrainingConfig, folder: Path) -> Checkpoints:
    """Those of a phase that began with a model, in its folder."""
    return Checkpoints(
        folder / "checkpoints",
        base=fingerprint(model.params),
        max_to_keep=config.keep_checkpoints,
        keep_best=config.keep_best,
    )
