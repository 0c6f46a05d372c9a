"""Answers that a policy gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.config import SamplingConfig
from sophia_jax.generation.engine import Engine
from sophia_jax.models.model import Model
from sophia_jax.recipes.frontier.task import LONGEST, PROMPTS, answer_number
from sophia_jax.seeds import group_seed
from sophia_jax.types import Request

__all__ = ["Samples", "draw_samples", "sampler", "shuffled"]

SLOTS = 128


@dataclass(frozen=True)
class Samples:
    """Answers that a policy gave, in the order of prompts and of samples.

    Attributes:
      prompts: Int[sample], of `PROMPTS`.
      answers: Int[sample], of `all_answers`.
      token_ids: of each answer, the end token included.
      log_probs: Float32[token] of each, under what it was sampled from.
    """

    prompts: np.ndarray
    answers: np.ndarray
    token_ids: Sequence[np.ndarray]
    log_probs: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.answers)


def sampler(model: Model) -> Engine:
    """Draws at temperature 1 over all tokens; `renew` gives it other weights."""
    return Engine(model, SamplingConfig(LONGEST), slots=SLOTS)


def draw_samples(engine: Engine, num_samples: int, seed: int, stage: str) -> Samples:
    """Answers of each prompt.

    Args:
      engine: of `sampler`, with the policy's weights.
      num_samples: of each prompt.
      seed: of the run.
      stage: what for; another stage draws other answers.
    """
    completions = engine(
        Request(
            group=prompt,
            text=prompt,
            num_samples=num_samples,
            seed=group_seed(seed, 0, stage, prompt),
        )
        for prompt in PROMPTS
    )
    found = sorted(completions, key=lambda c: (PROMPTS.index(c.group), c.sample))
    token_ids = [np.asarray(each.token_ids, np.int32) for each in found]
    return Samples(
        prompts=np.array([PROMPTS.index(each.group) for each in found]),
        answers=np.array([answer_number(each) for each in token_ids]),
        token_ids=token_ids,
        log_probs=[np.asarray(c.behavior_log_probs, np.float32) for c in found],
    )


def shuffled(samples: Samples, rng: np.random.Generator) -> Samples:
    """In an order in which neighbours 2 i and 2 i + 1 answer the same prompt."""
    pairs = rng.permutation(len(samples) // 2)
    order = np.stack([2 * pairs, 2 * pairs + 1], axis=1).ravel()
    return Samples(
        prompts=samples.prompts[order],
        answers=samples.answers[order],
        token_ids=[samples.token_ids[place] for place in order],
        log_probs=[samples.log_probs[place] for place in order],
    )
