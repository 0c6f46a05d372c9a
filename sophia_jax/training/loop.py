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
from sophia_jax.data.packing import Example, PackedBatch, pack_examples, pack_parts
from sophia_jax.data.pipeline import read_batches
from sophia_jax.models.model import Model
from sophia_jax.models.remat import check_remat
from sophia_jax.training.checkpoint import Checkpoints
from sophia_jax.training.metrics import MetricsWriter
from sophia_jax.training.optimizer import learning_rate, make_optimizer
from sophia_jax.training.step import LossFn, TrainState, init_state, train_step
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
    remat: Remat = "none"

    def __post_init__(self) -> None:
        for name in ("batch_size", "row_length", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected > 0, got {getattr(self, name)}")
        check_remat(self.remat)
        if not 0 < self.micro_batches <= self.batch_size:
            raise ValueError(
                f"micro_batches: expected between 1 and batch_size={self.batch_size}, "
                f"got {self.micro_batches}"
            )


def train(
    model: Model,
    examples: Sequence[Any],
    loss_fn: LossFn,
    config: TrainingConfig,
    folder: Path,
    *,
    make_example: Callable[[Any], Example] = lambda example: example,
    track: Track = untracked,
    description: str = "updates",
) -> Model:
    """Update a model on examples, epoch after epoch.

    A killed phase goes on from its newest checkpoint in `folder`, with the examples
    that it had not seen, and ends with the same weights.

    Args:
      model: where to start; it is left as it is.
      examples: a random-access source, in a new order in each epoch; or an endless
        grain data set, in its own order.
      loss_fn: per-sequence loss of (log-probabilities, mask, reward).
      config: of the phase.
      folder: of checkpoints and metrics.
      make_example: turns an element of the source into an example.
      track: shows the updates.
      description: what `track` calls them.

    Returns:
      The updated model.

    Raises:
      InputError: there are no examples; an example is refused by `pack_examples`; or
        the folder's checkpoint is of another run.
      ValueError: a grain data set ends before the phase does.
      FloatingPointError: loss or gradient is not finite; names the update.
    """
    if not len(examples):
        raise InputError("examples: expected at least one to learn from, got none")
    needed = config.optimizer.num_steps * config.batch_size
    if isinstance(examples, grain.MapDataset) and len(examples) < needed:
        raise ValueError(
            f"examples: expected an endless data set, or {needed} and more, "
            f"got {len(examples)}"
        )
    state = init_state(
        model,
        make_optimizer(config.optimizer),
        loss_fn=loss_fn,
        trainable=config.trainable,
        remat=config.remat,
    )
    rate = learning_rate(config.optimizer)
    with contextlib.ExitStack() as stack:

        def closing(thing: Any) -> Any:
            return stack.enter_context(contextlib.closing(thing))

        batches = closing(iter(_batches(model, examples, config, make_example)))
        checkpoints = closing(Checkpoints(folder / "checkpoints"))
        state = _resume(state, checkpoints, batches, config)
        first, last = int(state.step), config.optimizer.num_steps
        writer = closing(MetricsWriter(folder, first_step=first))

        unread = collections.deque()  # is read while the next update runs
        for step in track(range(first, last), description, last - first):
            state, metrics = train_step(state, next(batches))
            unread.append((step, metrics))
            saving = (step + 1) % config.checkpoint_every == 0 or step + 1 == last
            while len(unread) > (0 if saving else 1):
                done, metrics = unread.popleft()
                values = _finite(done, metrics) | {"learning_rate": float(rate(done))}
                writer.write(done, values)
            if saving:
                writer.flush()
                checkpoints.save(step + 1, state, batches.get_state())
    return dataclasses.replace(model, params=state.params)


def _batches(
    model: Model,
    examples: Sequence[Any],
    config: TrainingConfig,
    make_example: Callable[[Any], Example],
) -> grain.IterDataset:
    """Packed batches of this host, read ahead in threads."""

    def pack(batch: Sequence[Example]) -> PackedBatch:
        if config.micro_batches == 1:
            return pack_examples(batch, model.config, row_length=config.row_length)
        return pack_parts(
            batch,
            model.config,
            num_parts=config.micro_batches,
            row_length=config.row_length,
        )

    return read_batches(
        examples,
        pack,
        batch_size=config.batch_size,
        seed=config.seed,
        make_example=make_example,
        host=jax.process_index(),
        num_hosts=jax.process_count(),
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
