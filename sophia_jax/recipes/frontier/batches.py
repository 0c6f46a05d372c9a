"""What an update of the frontier reads, and the optimizer that makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import optax

from sophia_jax.config import ModelConfig, OptimizerConfig
from sophia_jax.data.examples import Group, members
from sophia_jax.data.packing import Buckets, PackedBatch, pack_examples
from sophia_jax.recipes.frontier.task import LONGEST, PROMPTS
from sophia_jax.training.optimizer import make_optimizer

__all__ = ["batches_of", "optimizer", "pack"]

ROW_LENGTH = 64


def batches_of(
    examples: Sequence[Group], size: int, rng: np.random.Generator
) -> Iterator[list[Group]]:
    """Endless batches, each example once in every epoch."""
    left: list[Group] = []
    while True:
        while len(left) < size:
            left += [examples[place] for place in rng.permutation(len(examples))]
        yield left[:size]
        left = left[size:]


def pack(
    examples: Sequence[Group], config: ModelConfig, *, longest: int = LONGEST
) -> PackedBatch:
    """One batch, of one shape for each number of answers.

    Args:
      examples: answers, or groups of them.
      config: of the model that reads them.
      longest: the most tokens of an answer.
    """
    num_answers = sum(len(members(each)) for each in examples)
    read = len(PROMPTS[0]) + longest  # a prompt and its end, all but the last token
    buckets = Buckets(
        rows=-(-num_answers // (ROW_LENGTH // read)),
        tokens=ROW_LENGTH,
        sequences=8,
        targets=8,
        learnt=num_answers * longest,
    )
    return pack_examples(examples, config, row_length=ROW_LENGTH, buckets=buckets)


def optimizer(
    learning_rate: float, num_steps: int, warmup_steps: int
) -> optax.GradientTransformation:
    """AdamW at a constant rate."""
    return make_optimizer(
        OptimizerConfig(
            num_steps,
            learning_rate=learning_rate,
            final_fraction=1.0,
            warmup_steps=warmup_steps,
            weight_decay=0.0,
        )
    )
