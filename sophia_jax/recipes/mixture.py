"""What the quickstart's update learns from: trajectories, and what stands beside them.

The paper's final mix has text-only trajectories and general questions about pictures
beside the kept ones; here the first are the reasoner's own right answers to questions
without a picture, the second are captions of the training pictures. Without them a
model this small forgets how to read, and learns its kept texts by heart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sophia_jax.data.mixing import mix_examples
from sophia_jax.data.packing import Example
from sophia_jax.data.prompts import Prompts
from sophia_jax.evaluation.evaluate import (
    answer_questions,
    read_evaluation,
    save_evaluation,
    summarize,
)
from sophia_jax.models.model import Model
from sophia_jax.recipes.handwriting import fact_examples, text_example
from sophia_jax.recipes.phases import imitation_examples
from sophia_jax.sophia import trajectory_examples
from sophia_jax.types import GenerateFn, InputError, Item, RewardFn

__all__ = ["Mixture", "MixtureConfig", "answer_texts", "mix"]


NUM_FACTS = 10_000  # lines of the tables, drawn with repetitions


@dataclass(frozen=True)
class MixtureConfig:
    """Out of how many examples comes how much of each; the paper gives no ratios.

    Attributes:
      trajectories: kept ones.
      texts: right answers of the reasoner to questions without a picture.
      captions: of the training pictures.
      facts: lines of the tables of one-digit arithmetic.
      num_questions: without a picture, that the reasoner is asked once each.
    """

    trajectories: int = 10
    texts: int = 6
    captions: int = 3
    facts: int = 12
    num_questions: int = 3_000

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise ValueError(f"{name}: expected > 0, got {value}")


@dataclass(frozen=True)
class Mixture:
    """What the update learns from.

    Attributes:
      examples: an endless source.
      sizes: how many different examples each part has.
      shares: how much of what is learnt each part is; 0 for a part that is empty.
    """

    examples: Sequence[Example]
    sizes: dict[str, int]
    shares: dict[str, float]


def answer_texts(
    folder: Path,
    reasoner: GenerateFn,
    verify: RewardFn,
    questions: Sequence[Item],
    *,
    seed: int,
) -> list[dict]:
    """One answer of the reasoner to each question without a picture; the right ones.

    All answers are kept in `folder`, and not asked for again.
    """
    rows = read_evaluation(folder)
    if rows is None:
        rows = answer_questions(reasoner, verify, questions, seed=seed)
        save_evaluation(folder, rows, summarize(rows))
    return [row for row in rows if row["verdict"] == "right"]


def mix(
    policy: Model,
    items: Sequence[Item],
    selection: Sequence[dict],
    texts: Sequence[dict],
    prompts: Prompts,
    config: MixtureConfig,
    *,
    seed: int,
) -> Mixture:
    """Kept trajectories, right texts, captions and facts as one data set.

    Args:
      policy: that learns.
      items: the training questions, with true captions.
      selection: rows of the selection table.
      texts: of `answer_texts`.
      prompts: of the loop.
      config: how much of each.
      seed: of the facts and of the order.

    Raises:
      InputError: no trajectory was kept.
    """
    if not any(row["kept"] for row in selection):
        raise InputError(
            f"selection: expected a kept trajectory to learn from, got 0 of "
            f"{len(selection)} questions"
        )
    asked_to_read = [
        dataclasses.replace(item, question=prompts.caption, answer=item.caption)
        for item in items
    ]
    parts = {
        "trajectories": trajectory_examples(policy, items, selection, prompts),
        "texts": [
            text_example(
                policy,
                row["question"],
                row["response"],
                system=prompts.system_for(row["response"]),
            )
            for row in texts
        ],
        "captions": imitation_examples(policy, asked_to_read),
        "facts": fact_examples(policy, seed, NUM_FACTS),
    }
    weights = {n: getattr(config, n) * bool(len(part)) for n, part in parts.items()}
    return Mixture(
        examples=mix_examples(
            [(part, weights[n]) for n, part in parts.items() if weights[n]], seed=seed
        ),
        sizes={name: len(part) for name, part in parts.items()},
        shares={n: weight / sum(weights.values()) for n, weight in weights.items()},
    )
