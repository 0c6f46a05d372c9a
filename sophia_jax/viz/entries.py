"""What a page's browser shows of one question: texts in a tree, and their fates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Branch", "Entry", "EntrySet", "Leaf"]


@dataclass(frozen=True)
class Leaf:
    """A reasoning, or an answer.

    Attributes:
      mark: its outcome, in words; empty where it has none.
      note: what became of it, and why.
      text: as the model wrote it.
      num_tokens: of the text; None where that is not known.
      kept: whether it is the one that was kept.
    """

    mark: str
    note: str
    text: str
    num_tokens: int | None = None
    kept: bool = False


@dataclass(frozen=True)
class Branch:
    """A caption with the reasonings from it, or a model with its answers.

    Attributes:
      title: what it is.
      text: the caption, where there is one.
      note: what became of the caption; empty where nothing is known.
      reward: the least and the most that the caption's reward can be, in [0, 1].
      passes: whether the reward is above the threshold; None where that is not known.
      differences: between what the caption says and what the picture holds, as of
        `word_differences`; None where what it holds is not known.
      leaves: in the order in which they were sampled.
    """

    title: str
    text: str | None = None
    note: str = ""
    reward: tuple[float, float] | None = None
    passes: bool | None = None
    differences: tuple[tuple[str, str], ...] | None = None
    leaves: tuple[Leaf, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A question with all that came of it.

    Attributes:
      name: its id.
      question: as it was asked; empty where its file is not there.
      answer: the right one; None where there is none, or its file is not there.
      pictures: paths of the pictures that are there.
      lost: how many pictures it should have beside them.
      status: what came of it, in a word or two.
      good: whether that is what one hopes for; None where neither is.
      words: the same in a sentence.
      labels: one for each thing to filter by.
      branches: in order.
      truth: what the picture holds, in words, where that is known.
    """

    name: str
    question: str
    answer: str | None
    pictures: tuple[Path, ...]
    lost: int
    status: str
    good: bool | None
    words: str
    labels: dict[str, str]
    branches: tuple[Branch, ...]
    truth: str | None = None


@dataclass(frozen=True)
class EntrySet:
    """Questions of one kind of source.

    Attributes:
      name: what they are.
      total: how many there are.
      entries: made when they are asked for.
    """

    name: str
    total: int
    entries: Iterator[Entry] = field(repr=False)
