"""The training loop: data in, updates, metrics and checkpoints out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain.python as grain

from sophia_jax.config import OptimizerConfig
from sophia_jax.data.packing import Example, pack_examples
from sophia_jax.models.model import Model
from sophia_jax.training.checkpoint import Checkpoints
from sophia_jax.training.metrics import MetricsWriter
from sophia_jax.training.optimizer import adamw, learning_rate
from sophia_jax.training.step import LossFn, init_state, train_step
from sophia_jax.types import Track, untracked

__all__ = ["TrainingConfig", "train"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a phase of updates runs.

    Attributes:
      optimizer: its steps are the phase's length.
      batch_size: examples in an update. The paper's is 512.
      row_length: tokens in a packed row; no example may be longer.
      trainable: parts that learn; the paper's best setting is the decoder alone.
      seed: of the order of the examples.
      checkpoint_every: updates between checkpoints.
      remat: recompute activations in the backward pass, to save memory.
    """

    optimizer: OptimizerConfig
    batch_size: int = 512
    row_length: int = 4096
    trainable: tuple[str, ...] = ("decoder",)
    seed: int = 0
    checkpoint_every: int = 100
    remat: bool = False


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
    """Update a model on examples, epoch after epoch, each in a new order.

    A killed phase goes on from its newest checkpoint in `folder`, with the examples
    that it had not seen, and ends with the same weights.

    Args:
      model: where to start; it is left as it is.
      examples: a random-access source.
      loss_fn: per-sequence loss of (log-probabilities, mask, reward).
      config: of the phase.
      folder: of checkpoints and metrics.
      make_example: turns an element of the source into an example.
      track: shows the updates.
      description: what `track` calls them.

    Returns:
      The updated model.

    Raises:
      FloatingPointError: the loss is not finite; names the update.
    """
    state = init_state(
        model,
        adamw(config.optimizer),
        loss_fn=loss_fn,
        trainable=config.trainable,
        remat=config.remat,
    )
    batches = iter(_batches(model, examples, config, make_example))
    checkpoints = Checkpoints(folder / "checkpoints")
    if (restored := checkpoints.restore(state)) is not None:
        state, position = restored
        batches.set_state(position)
    first, last = int(state.step), config.optimizer.num_steps
    writer = MetricsWriter(folder, first_step=first)
    rate = learning_rate(config.optimizer)

    def note(step: int, metrics: dict) -> None:
        """Waits for the update; stops the run at a loss that is not finite."""
        values = {name: float(value) for name, value in metrics.items()}
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(
                f"update {step}: expected a finite loss, got {values['loss']}; "
                f"{folder / 'checkpoints'} holds the state before it"
            )
        writer.write(step, {**values, "learning_rate": float(rate(step))})

    pending: list[tuple[int, dict]] = []  # read while the next update runs
    for step in track(range(first, last), description, last - first):
        state, metrics = train_step(state, next(batches))
        pending.append((step, metrics))
        saving = (step + 1) % config.checkpoint_every == 0 or step + 1 == last
        while len(pending) > (not saving):
            note(*pending.pop(0))
        if saving:
            writer.flush()
            checkpoints.save(step + 1, state, batches.get_state())
    checkpoints.close()
    writer.close()
    return dataclasses.replace(model, params=state.params)


def _batches(
    model: Model,
    examples: Sequence[Any],
    config: TrainingConfig,
    make_example: Callable[[Any], Example],
) -> grain.IterDataset:
    """Packed batches in an order that the seed decides, read ahead in a thread."""

    def pack(batch: Sequence[Example]):
        return pack_examples(batch, model.config, row_length=config.row_length)

    return (
        grain.MapDataset.source(examples)
        .seed(config.seed)
        .shuffle()
        .repeat()
        .map(make_example)
        .batch(config.batch_size, batch_fn=pack)
        .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=16))
    )

