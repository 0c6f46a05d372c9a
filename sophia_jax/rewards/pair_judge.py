"""A model as a judge of two answers at a time, in both orders."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sophia_jax.rewards.bradley_terry import bradley_terry_scores
from sophia_jax.rewards.judge import Asked, CountFn, ask_all
from sophia_jax.rewards.judge_ledger import JudgeLedger
from sophia_jax.rewards.judge_prompts import JUDGE_PROMPTS, JudgePrompts
from sophia_jax.rewards.judge_replies import read_preference
from sophia_jax.types import GenerateFn

__all__ = ["PairJudge", "check_opponents", "position_bias", "schedule"]

PREFERENCE_FORM = "A, B or tie"

Topic = tuple[str, tuple[str, ...]]  # a question with its pictures


@dataclass(frozen=True)
class PairJudge:
    """A `JudgeFn` that compares the answers to each question with each other.

    Each pair is asked about in both orders, which gives one preference for each that
    can be read. Scores are of `bradley_terry_scores`, in log-odds: they can be compared
    within a question of one call alone. Equal answers are one, and answers to a
    question that are all equal have 0. One none of whose replies could be read has nan.

    Attributes:
      generate: samples from the model.
      opponents: others that an answer meets at most, an even number; None for all.
      prior: draws of each answer with an average one.
      prompts: of which `preference` is asked.
      retries: how often it is asked again where a reply cannot be read.
      seed: of the samples.
      ledger: of its replies.
      count_tokens: of a prompt, where the model is here.
    """

    generate: GenerateFn
    opponents: int | None = None
    prior: float = 1.0
    prompts: JudgePrompts = JUDGE_PROMPTS
    retries: int = 2
    seed: int = 0
    ledger: JudgeLedger = field(default_factory=JudgeLedger)
    count_tokens: CountFn | None = None

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries: expected >= 0, got {self.retries}")
        check_opponents(self.opponents)

    def __call__(
        self,
        pairs: Sequence[tuple[str, str]],
        images: Sequence[tuple[str, ...]] | None = None,
    ) -> list[float]:
        """Scores of (question, response) pairs, nan where there is none.

        Args:
          pairs: what is judged, all answers to a question that are to be compared.
          images: paths of each question's pictures, for a judge that sees.
        """
        shown = [()] * len(pairs) if images is None else images
        topics = [
            (question, tuple(pictures))
            for (question, _), pictures in zip(pairs, shown, strict=True)
        ]
        said = [response for _, response in pairs]
        answers = _distinct(topics, said)
        matches = {
            topic: schedule(len(those), self.opponents)
            for topic, those in answers.items()
        }
        values = iter(self._preferences(answers, matches))
        scores = {
            topic: self._scores(those, matches[topic], values)
            for topic, those in answers.items()
        }
        return [
            scores[topic][response]
            for topic, response in zip(topics, said, strict=True)
        ]

    def counts(self) -> Mapping[str, Any]:
        """As of `JudgeLedger.counts`, and `position_bias`."""
        return {
            **self.ledger.counts(),
            "position_bias": position_bias(self.ledger.read_values()),
        }

    def _preferences(
        self,
        answers: Mapping[Topic, Sequence[str]],
        matches: Mapping[Topic, Sequence[tuple[int, int]]],
    ) -> list[float]:
        """Of each match two values, in the order of topics and of their matches."""
        asked = [
            each
            for topic, those in answers.items()
            for match in matches[topic]
            for each in self._both_orders(topic, those, match)
        ]
        return ask_all(
            self.generate,
            asked,
            lambda completion: read_preference(completion.text),
            self.ledger,
            retries=self.retries,
            seed=self.seed,
            count_tokens=self.count_tokens,
        )

    def _both_orders(
        self, topic: Topic, answers: Sequence[str], match: tuple[int, int]
    ) -> list[Asked]:
        question, images = topic
        one, other = (answers[place] for place in match)
        whole = "\x1f".join(
            ("preference", self.prompts.preference, question, one, other)
        )
        fill = self.prompts.fill
        return [
            Asked(
                fill(self.prompts.preference, question, *two),
                fill(self.prompts.preference, question, *two, form=PREFERENCE_FORM),
                images,
                order,
                whole,
            )
            for order, two in enumerate(((one, other), (other, one)))
        ]

    def _scores(
        self,
        answers: Sequence[str],
        matches: Sequence[tuple[int, int]],
        values: Iterator[float],
    ) -> dict[str, float]:
        """Of one question's answers; takes two values for each match."""
        wins = np.zeros((len(answers), len(answers)))
        for one, other in matches:
            for first, second in ((one, other), (other, one)):
                value = next(values)
                if not math.isnan(value):
                    wins[first, second] += value
                    wins[second, first] += 1 - value
        scores = bradley_terry_scores(wins, prior=self.prior)
        met = (wins + wins.T).sum(axis=1) > 0
        known = met | (len(answers) == 1)
        return dict(zip(answers, np.where(known, scores, np.nan).tolist(), strict=True))


def check_opponents(opponents: int | None) -> None:
    """See that each answer can meet so many others.

    Raises:
      ValueError: it is neither None nor an even number, at least 2.
    """
    if opponents is not None and (opponents < 2 or opponents % 2):
        raise ValueError(f"opponents: expected an even number >= 2, got {opponents}")


def schedule(num_answers: int, opponents: int | None) -> list[tuple[int, int]]:
    """Which answers are compared: all with all, or each with some.

    With fewer, they stand in a circle, and each meets its nearest neighbours on either
    side: all meet equally many, and every two are joined by a chain of matches.

    Args:
      num_answers: at least 1.
      opponents: of each answer, an even number; None for all.

    Returns:
      Pairs of places, each once.
    """
    everyone = list(itertools.combinations(range(num_answers), 2))
    if opponents is None or opponents >= num_answers - 1:
        return everyone
    reach = opponents // 2

    def are_near(one: int, other: int) -> bool:
        return min(other - one, num_answers + one - other) <= reach

    return [pair for pair in everyone if are_near(*pair)]


def position_bias(values: Mapping[str, float]) -> dict[str, float | int | None]:
    """How far a judge goes by the order in which two answers stand.

    Args:
      values: preferences for the answer shown first, by key: 0, 1/2 or 1. Keys of one
        pair end in /0 and /1, for its two orders.

    Returns:
      `first`, the mean preference for the answer shown first, 1/2 without bias;
      `consistent`, the share of pairs, read in both orders, whose two replies say the
      same of the answers; both None where nothing was read; `pairs`, how many of these
      there are.
    """
    by_pair: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        pair, _, order = key.rpartition("/")
        by_pair.setdefault(pair, {})[order] = value
    both = [each for each in by_pair.values() if each.keys() == {"0", "1"}]
    agree = Counter(each["0"] == 1 - each["1"] for each in both)
    return {
        "first": float(np.mean(list(values.values()))) if values else None,
        "consistent": agree[True] / len(both) if both else None,
        "pairs": len(both),
    }


def _distinct(
    topics: Sequence[Topic], responses: Sequence[str]
) -> dict[Topic, list[str]]:
    """Each topic's different answers.

    They stand in the order of a digest of each, so that who meets whom depends on the
    answers alone.
    """
    found: dict[Topic, set[str]] = {}
    for topic, response in zip(topics, responses, strict=True):
        found.setdefault(topic, set()).add(response)
    return {topic: sorted(those, key=_digest) for topic, those in found.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
