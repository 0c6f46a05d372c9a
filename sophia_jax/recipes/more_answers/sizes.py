"""Sizes of the experiment: the real ones, and those of a quick look."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass

from sophia_jax.config import OptimizerConfig, SamplingConfig
from sophia_jax.training.loop import TrainingConfig
from sophia_jax.types import InputError

__all__ = ["FEWEST_QUESTIONS", "MoreAnswersConfig", "quick_size"]

FEWEST_QUESTIONS = 8  # of which half are foretold


@dataclass(frozen=True)
class MoreAnswersConfig:
    """How many answers there are, who judges them, and what is looked at.

    Attributes:
      questions: held-out ones that are asked; half of them are foretold.
      num_answers: n, to each of these.
      train_questions: that the judge learns from.
      train_answers: to each of these.
      sampling: of all answers. At 1 a good policy gives few different answers, seldom
        wrong: at 1.4 there is more to choose from, and more to learn from.
      pairs_of_question: that the judge learns from, at most.
      passes: of the judge over its pairs.
      batch_size: pairs in an update.
      learning_rate: of a judge whose likelihoods rank answers before it learns: small.
      row_length: tokens of a packed row, when the judge learns and when it reads.
      noise: σ of the noisy judge, in units of the good one's deviation among answers to
        a question.
      liking: λ of the misleading judge: nats for each token that an answer is shorter.
      temperatures: each T of the choice, in nats; 0 is best-of-k.
      fit_samples: answers to a question that the forecast looks at.
      num_resamples: of the questions, for the 95 % intervals.
      questions_per_shard: a killed run loses at most the answers to so many.
      slots: sequences that are sampled together; few, for a CPU's cache to hold.
      seed: of the questions, the answers, the lessons, the noise and the halves.
    """

    questions: int = 600
    num_answers: int = 32
    train_questions: int = 800
    train_answers: int = 16
    sampling: SamplingConfig = SamplingConfig(112, temperature=1.4)
    pairs_of_question: int = 8
    passes: int = 1
    batch_size: int = 16
    learning_rate: float = 3e-5
    row_length: int = 256
    noise: float = 2.0
    liking: float = 1.0
    temperatures: tuple[float, ...] = (0.0, 1.0)
    fit_samples: int = 8
    num_resamples: int = 200
    questions_per_shard: int = 50
    slots: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "questions": FEWEST_QUESTIONS,
            "num_answers": 2,
            "train_questions": 1,
            "train_answers": 1,
            "pairs_of_question": 1,
            "passes": 1,
            "batch_size": 1,
            "row_length": 1,
            "fit_samples": 1,
            "num_resamples": 2,
            "questions_per_shard": 1,
            "slots": 1,
        }
        for name, rule in least.items():
            value = getattr(self, name)
            _require(value >= rule, name, f">= {rule}", value)
        rule = f"at most num_answers={self.num_answers}"
        fits = self.fit_samples <= self.num_answers
        _require(fits, "fit_samples", rule, self.fit_samples)
        for name in ("noise", "liking"):
            value = getattr(self, name)
            _require(0 < value < math.inf, name, "> 0 and finite", value)
        fits = bool(self.temperatures) and min(self.temperatures) >= 0
        _require(fits, "temperatures", "at least one, each >= 0", self.temperatures)

    def lessons(self, number: int) -> TrainingConfig:
        """The judge's updates, for so many pairs."""
        num_steps = -(-self.passes * number // self.batch_size)
        optimizer = OptimizerConfig(
            num_steps,
            learning_rate=self.learning_rate,
            final_fraction=0.02,
            warmup_steps=num_steps // 10,
        )
        return TrainingConfig(
            optimizer,
            batch_size=self.batch_size,
            row_length=self.row_length,
            seed=self.seed,
        )

    def no_more_than(
        self, num_train: int, num_held_out: int, asked_for: Collection[str]
    ) -> MoreAnswersConfig:
        """As many questions as a run has, where nobody asked for a number of them.

        Args:
          num_train: training questions of the run.
          num_held_out: its held-out ones.
          asked_for: fields whose values stay.

        Raises:
          InputError: more questions are asked for than there are.
        """
        most = {"questions": num_held_out, "train_questions": num_train}
        fewer = {}
        for name, number in most.items():
            value = getattr(self, name)
            rule = f"at most the {number} questions of the run"
            _require(value <= number or name not in asked_for, name, rule, value)
            fewer[name] = min(value, number)
        return dataclasses.replace(self, **fewer)

    @property
    def ks(self) -> tuple[int, ...]:
        """1, 2, 3, 4, 6, 8, 12, ... and n: each k that is looked at."""
        doubled = [2**power for power in range(self.num_answers.bit_length())]
        between = [3 * k for k in doubled]
        most = self.num_answers
        return tuple(sorted({k for k in (*doubled, *between) if k < most} | {most}))


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise InputError(f"{name}: expected {rule}, got {value}")


def quick_size(config: MoreAnswersConfig) -> MoreAnswersConfig:
    """Fewer questions, answers and passes: a look at the machinery."""
    num_answers = min(config.num_answers, 8)
    return dataclasses.replace(
        config,
        questions=min(config.questions, 40),
        num_answers=num_answers,
        train_questions=min(config.train_questions, 80),
        passes=1,
        fit_samples=min(config.fit_samples, num_answers // 2),
        num_resamples=min(config.num_resamples, 40),
        questions_per_shard=20,
    )
