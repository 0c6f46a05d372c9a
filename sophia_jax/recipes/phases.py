"""Phases of updates whose sizes follow from the examples, and the warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from sophia_jax.config import (
    Algorithm,
    Dtype,
    LoraConfig,
    OptimizerConfig,
    Remat,
    StateDtype,
)
from sophia_jax.data.images import count_tiles
from sophia_jax.data.packing import Example
from sophia_jax.data.prompts import encode_prompt, encode_target
from sophia_jax.generation.pictured import PicturedExamples
from sophia_jax.models.adapters import add_adapters, merge_adapters
from sophia_jax.models.model import Model
from sophia_jax.models.remat import check_remat
from sophia_jax.recipes.meshes import moved_to_learn
from sophia_jax.sharding import Partition, Roles
from sophia_jax.sharding.roles import training_partition
from sophia_jax.training import objectives
from sophia_jax.training.loop import TrainingConfig, train
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = [
    "MixPart",
    "UpdateConfig",
    "imitate",
    "imitation_examples",
    "lesson_example",
    "with_what_learns",
]

PAPER_BATCH = 512
SHORTEST_ROW = 2048  # tokens: many examples in a row leave little of it empty


SIZES = (
    *("num_steps", "batch_size", "row_length", "micro_batches", "checkpoint_every"),
    *("keep_checkpoints", "trajectory_weight"),
)


@dataclass(frozen=True)
class MixPart:
    """A source of texts that are learnt beside the trajectories.

    Attributes:
      data: the source, as of `read_source`.
      weight: how many of its rows stand beside `trajectory_weight` trajectories.
    """

    data: str
    weight: int = 1

    def __post_init__(self) -> None:
        if self.weight < 1:
            raise ValueError(f"weight of {self.data}: expected >= 1, got {self.weight}")


@dataclass(frozen=True)
class UpdateConfig:
    """A phase of updates; what is None follows from the examples.

    Attributes:
      num_steps: updates; None for one pass over the examples.
      batch_size: examples in an update; None for the paper's 512, or all if fewer.
      row_length: the most tokens in a packed row; None for 2048, or the longest example
        if that has more.
      micro_batches: equal parts of an update that are held in memory one at a time.
      learning_rate: at its highest.
      weight_decay: of the matrices that learn, the adapters' among them.
      warmup_steps: updates until the rate is at its highest.
      checkpoint_every: updates between checkpoints.
      keep_checkpoints: the newest that stay.
      keep_best: the metric of which the best checkpoint stays too, or None.
      remat: which activations the backward pass forms again, as of `TrainingConfig`.
      seed: of the order of the examples.
      algorithm: the optimizer.
      optimizer_state: of AdamW's moments; int8 takes a quarter of the memory.
      dtype: of the policy's weights. Where they learn in bfloat16, the optimizer keeps
        float32 copies of them.
      lora: adapters that learn in the decoder's stead; None for all of the decoder.
      mix: what is learnt beside the trajectories.
      trajectory_weight: their share in that mix, as of `MixPart`.
      roles: the devices of the policy while it learns, and while it encodes pictures.
    """

    num_steps: int | None = None
    batch_size: int | None = None
    row_length: int | None = None
    micro_batches: int = TrainingConfig.micro_batches
    learning_rate: float = OptimizerConfig.learning_rate
    weight_decay: float = OptimizerConfig.weight_decay
    warmup_steps: int = OptimizerConfig.warmup_steps
    checkpoint_every: int = TrainingConfig.checkpoint_every
    keep_checkpoints: int = TrainingConfig.keep_checkpoints
    keep_best: str | None = None
    remat: Remat = TrainingConfig.remat
    seed: int = 0
    algorithm: Algorithm = "adamw"
    optimizer_state: StateDtype = "float32"
    dtype: Dtype = "float32"
    lora: LoraConfig | None = None
    mix: tuple[MixPart, ...] = ()
    trajectory_weight: int = 1
    roles: Roles = Roles()

    def __post_init__(self) -> None:
        for name in SIZES:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected >= 1, got {value}")
        check_remat(self.remat)
        sources = [part.data for part in self.mix]
        if len(set(sources)) < len(sources):
            raise ValueError(f"mix: expected each source once, got {sources}")
        self._optimizer(self.num_steps or self.warmup_steps + 1)

    @property
    def partition(self) -> Partition | None:
        """Where the policy learns.

        Raises:
          InputError: there are not as many devices.
        """
        return training_partition(self.roles.update)

    def sized(self, longest: int, num_examples: int) -> TrainingConfig:
        """The phase's sizes, for so many examples.

        Args:
          longest: tokens of the longest one.
          num_examples: of one pass.

        Returns:
          Every size, as a number.

        Raises:
          InputError: an example is longer than a row, there are more parts than
            examples in an update, or too few updates for the warm-up of the rate.
        """
        if self.row_length is not None and longest > self.row_length:
            raise InputError(
                f"row_length: expected >= {longest}, the tokens of the longest "
                f"example, got {self.row_length}"
            )
        batch_size = self.batch_size or min(PAPER_BATCH, num_examples)
        if self.micro_batches > batch_size:
            raise InputError(
                f"micro_batches: expected <= {batch_size}, the examples in an update, "
                f"got {self.micro_batches}"
            )
        num_steps = self.num_steps or -(-num_examples // batch_size)
        try:
            optimizer = self._optimizer(num_steps)
        except ValueError as error:
            raise InputError(str(error)) from error
        return TrainingConfig(
            optimizer=optimizer,
            batch_size=batch_size,
            row_length=self.row_length or max(longest, SHORTEST_ROW),
            micro_batches=self.micro_batches,
            trainable=TrainingConfig.trainable if self.lora is None else ("adapters",),
            seed=self.seed,
            checkpoint_every=self.checkpoint_every,
            keep_checkpoints=self.keep_checkpoints,
            keep_best=self.keep_best,
            remat=self.remat,
        )

    def _optimizer(self, num_steps: int) -> OptimizerConfig:
        return OptimizerConfig(
            num_steps=num_steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            algorithm=self.algorithm,
            state=self.optimizer_state,
            master=self.dtype != "float32" and self.lora is None,
        )


def with_what_learns(policy: Model, config: UpdateConfig) -> Model:
    """The policy, with new adapters if it is these that learn."""
    if config.lora is None:
        return policy
    return add_adapters(jax.random.key(config.seed), policy, config.lora)


def imitate(
    policy: Model,
    items: Sequence[Item],
    config: UpdateConfig,
    folder: Path,
    *,
    track: Track = untracked,
) -> Model:
    """The paper's warm-up: supervised tuning on (picture, question) -> answer.

    Args:
      policy: where to start; its decoder learns, or adapters that are merged into it.
      items: whose answers are the texts to be learnt.
      config: of the phase.
      folder: of checkpoints and metrics; a killed phase goes on from there.
      track: shows the updates.

    Returns:
      The warmed-up policy.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, section 5.1.
    """
    examples = imitation_examples(policy, items)
    policy = moved_to_learn(
        policy, config.partition, still_encodes=examples.encodes_later
    )
    policy = train(
        with_what_learns(policy, config),
        examples,
        objectives.sft,
        config.sized(examples.longest, len(examples)),
        folder,
        track=track,
        description="warm-up",
    )
    return policy if config.lora is None else merge_adapters(policy)


def imitation_examples(policy: Model, items: Sequence[Item]) -> PicturedExamples:
    """(picture, question) -> answer, for plain imitation."""

    def plain(item: Item) -> Example:
        prompt_ids = encode_prompt(
            policy.tokenizer,
            policy.config,
            item.question,
            tiles_per_image=count_tiles(policy.tiles, item.images),
        )
        return Example(prompt_ids, encode_target(policy.tokenizer, item.answer))

    return PicturedExamples(
        policy, list(map(plain, items)), [item.images for item in items]
    )


def lesson_example(
    policy: Model, item: Item, features: Sequence[np.ndarray]
) -> Example:
    """(pictures, question) -> answer, word for word.

    Args:
      policy: that learns.
      item: with pictures or without.
      features: of its pictures, as of `ImageEncoder`.
    """
    prompt_ids = encode_prompt(
        policy.tokenizer,
        policy.config,
        item.question,
        tiles_per_image=[len(each) for each in features],
    )
    target_ids = encode_target(policy.tokenizer, item.answer)
    images = np.concatenate(features) if len(features) else None
    return Example(prompt_ids, target_ids, images)
