"""Groups and their samples, while they run and when they are done with."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from sophia_jax.generation.prompts import Prompt
from sophia_jax.generation.readers import Part
from sophia_jax.types import FinishReason

__all__ = ["Finished", "Group", "Sample"]


@dataclass
class Group:
    """A prompt, and where its samples are.

    Attributes:
      prompt: what is sampled.
      limits: Int[sample], the most tokens of each sample.
      waiting: samples that are not running yet, or were put back.
      num_running: samples in slots.
      pages: of the prompt, once it is being read; None before.
    """

    prompt: Prompt
    limits: np.ndarray
    waiting: deque[int]
    num_running: int = 0
    pages: list[int] | None = None

    @property
    def name(self) -> str:
        return self.prompt.request.group


@dataclass
class Sample:
    """A sample in a slot.

    Attributes:
      group, number: which one it is.
      start: the first place of the open page that is its own.
      parts: the pages that it has filled.
      drawn: token ids, behaviour and policy log-probabilities, chunk by chunk.
      num_tokens: drawn so far.
    """

    group: Group
    number: int
    start: int
    parts: list[Part] = field(default_factory=list)
    drawn: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    num_tokens: int = 0

    def finished(self, reason: FinishReason) -> Finished:
        """The sample as it is, now that it is done with."""
        empty = (np.zeros(0, np.int32), *[np.zeros(0, np.float32)] * 2)
        drawn = zip(*(self.drawn or [empty]), strict=True)
        ids, behavior, policy = (np.concatenate(each) for each in drawn)
        return Finished(self.group.prompt, self.number, (ids, behavior, policy), reason)


@dataclass(frozen=True)
class Finished:
    """A sample that is done with.

    Attributes:
      prompt, number: which one it is.
      drawn: (token ids Int32[token], behaviour and policy log-probabilities).
      finish_reason: why it ended.
    """

    prompt: Prompt
    number: int
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray]
    finish_reason: FinishReason
