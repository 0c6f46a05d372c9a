"""The training loop: data in, updates, metrics and checkpoints out."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
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
from sophia_jax.preemption import Preempted, defer_preemption, stop_if_preempted
from sophia_jax.sharding.order import in_order
from sophia_jax.sharding.peers import watch_peers
from sophia_jax.sharding.together import all_agree, is_first
from sophia_jax.training import objectives
from sophia_jax.training.checkpoint import Checkpoints
from sophia_jax.training.feeding import feed, packed_batches
from sophia_jax.training.fingerprint import fingerprint
from sophia_jax.training.metrics import MetricsWriter
from sophia_jax.training.optimizer import learning_rate, make_optimizer
from sophia_jax.training.retention import METRICS
from sophia_jax.training.step import (
    Measure,
    Objective,
    TrainState,
    init_state,
    train_step,
)
from sophia_jax.types import InputError, Track, untracked

__all__ = ["TrainingConfig", "train"]


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
    rate = learning_rate(config.optimizer)
    # Programs of several processes must not run side by side on CPUs, as of `feed`.
    several = jax.process_count() > 1
    if several and model.partition is None:
        raise ValueError("model: expected one on a mesh of all processes, got none")
    one_at_a_time = several and jax.default_backend() == "cpu"
    stop_if_preempted()
    with contextlib.ExitStack() as stack:
        signalled = stack.enter_context(defer_preemption())
        stack.enter_context(watch_peers())

        def closing(thing: Any) -> Any:
            return stack.enter_context(contextlib.closing(thing))

        batches = closing(iter(_batches(model, examples, config, make_example)))
        checkpoints = stack.enter_context(_checkpoints(model, config, folder))
        state = _resume(state, checkpoints, batches, config)
        first, last = int(state.step), config.optimizer.num_steps
        writer = None
        if is_first():
            writer = closing(MetricsWriter(folder, first_step=first))

        fed = feed(batches, model.partition, signalled)
        unread = collections.deque()  # is read while the next update runs
        since_saved = []
        for step in track(range(first, last), description, last - first):
            batch, position, stop = next(fed)
            if watch is not None:
                watch(step, dataclasses.replace(model, params=state.params))
            with in_order(model.partition):  # pictures are encoded beside it
                state, metrics = train_step(state, batch)
            unread.append((step, metrics))
            saving = (step + 1) % config.checkpoint_every == 0 or step + 1 == last
            saving = saving or stop
            while len(unread) > (0 if saving or one_at_a_time else 1):
                done, metrics = unread.popleft()
                values = _finite(done, metrics) | {"learning_rate": float(rate(done))}
                since_saved.append(values)
                if writer is not None:
                    writer.write(done, values)
            if saving:
                if writer is not None:
                    writer.flush()
                with in_order(model.partition):
                    checkpoints.save(step + 1, state, position, _means(since_saved))
                since_saved.clear()
            if stop:
                raise Preempted(signalled() or "another process", together=True)
        # One that stopped alone would let the others wait in what comes next.
        if several and not all_agree(signalled() is None):
            raise Preempted(signalled() or "another process", together=True)
    if not several:
        stop_if_preempted()
    return dataclasses.replace(model, params=state.params)


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


def _checkpoints(model: Model, config: TrainingConfig, folder: Path) -> Checkpoints:
    return Checkpoints(
        folder / "checkpoints",
        base=fingerprint(model.params),
        max_to_keep=config.keep_checkpoints,
        keep_best=config.keep_best,
    )


def _resume(
    state: TrainState,
    checkpoints: Checkpoints,
    batches: grain.DatasetIterator,
    config: TrainingConfig,
) -> TrainState:
    """The newest checkpoint's state, with the data where it stood; else `state`."""
    restored = checkpoints.restore(state)
    if restored is None:
        return state
    state, position = restored
    batches.set_state(position)
    if state.step > config.optimizer.num_steps:
        raise InputError(
            f"num_steps: expected at least the checkpoint's {state.step} updates, got "
            f"{config.optimizer.num_steps}"
        )
    return state


def _finite(step: int, metrics: dict) -> dict[str, float]:
    """Waits for the update; stops the run where a number is not finite."""
    values = {name: float(value) for name, value in metrics.items()}
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(values[name]):
            raise FloatingPointError(
                f"update {step}: expected a finite {name}, got {values[name]}"
            )
    return values


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in METRICS}
