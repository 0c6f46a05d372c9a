"""The outcomes of a seed's rollouts as arrays, and what a rule keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.recipes.compare.rules import Rule
from sophia_jax.rollouts.tables import check_rows
from sophia_jax.seeds import group_seed
from sophia_jax.types import InputError, Item

__all__ = ["Kept", "Outcomes", "as_selection", "read_outcomes", "same_questions"]

Kept = Mapping[str, Sequence[str]]
"""The texts that a rule keeps, by the id of their question; at least one of each."""


@dataclass(frozen=True)
class Outcomes:
    """What came of every reasoning.

    Attributes:
      question_ids: of the questions.
      right: Bool[question caption reasoning].
      lengths: Int[question caption reasoning], in the policy's tokens, with the end
        token.
      texts: object[question caption reasoning], what was reasoned.
    """

    question_ids: tuple[str, ...]
    right: np.ndarray
    lengths: np.ndarray
    texts: np.ndarray

    def keep(self, rule: Rule, seed: int) -> dict[str, list[str]]:
        """What a rule keeps.

        Args:
          rule: asked about each question.
          seed: of what it draws; a question's draws are its own.
        """
        kept = {}
        for index, name in enumerate(self.question_ids):
            rng = np.random.default_rng(group_seed(seed, 0, "kept at random", name))
            picks = rule(rng, self.right[index], self.lengths[index])
            if picks:
                kept[name] = [self.texts[index][pick] for pick in picks]
        return kept


def read_outcomes(
    items: Sequence[Item],
    rows: Sequence[dict],
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None,
    *,
    captions: int,
    reasonings: int,
) -> Outcomes:
    """The outcomes that a table of reasonings holds.

    Args:
      items: the questions.
      rows: of the reasonings table.
      count_tokens: as of `select_trajectories`.
      captions, reasonings: K and N.

    Raises:
      InputError: they are not of these questions, or one was stopped before it ended,
        so that other rules cannot know what they would have kept.
    """
    check_rows(rows, "reasonings", items, caption=captions, reasoning=reasonings)
    for row in rows:
        if row["reward"] is None:
            raise InputError(
                f"reasonings: expected an outcome of each, got {row['verdict']!r} of "
                f"{row['question_id']!r}"
            )
    shape = (len(items), captions, reasonings)
    lengths = [len(row["token_ids"]) for row in rows]
    if count_tokens is not None:
        lengths = count_tokens([row["text"] for row in rows])
    return Outcomes(
        question_ids=tuple(item.id for item in items),
        right=np.array([row["reward"] == 1.0 for row in rows], bool).reshape(shape),
        lengths=np.array(lengths).reshape(shape),
        texts=np.array([row["text"] for row in rows], object).reshape(shape),
    )


def same_questions(kept: Kept, num_questions: int, seed: int) -> dict[str, list[str]]:
    """As many questions for one arm as for another, the same ones where both have them.

    All questions stand in one order that depends on the seed and their ids alone; the
    first that something was kept of are taken.

    Args:
      kept: of `Outcomes.keep`.
      num_questions: that are taken; all, where there are fewer.
      seed: of the order.
    """
    order = sorted(kept, key=lambda name: group_seed(seed, 0, "question order", name))
    return {name: list(kept[name]) for name in order[:num_questions]}


def as_selection(kept: Kept) -> list[dict]:
    """Rows as `trajectory_examples` reads them."""
    return [
        {"question_id": name, "kept": True, "text": text, "reward": 1.0}
        for name, texts in kept.items()
        for text in texts
    ]
