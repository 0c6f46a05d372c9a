"""The questions of the rollouts, and why each reasoning was kept or not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sophia_jax.rollouts.selection import NO_SCORE
from sophia_jax.types import Item
from sophia_jax.viz.differences import agrees, word_differences
from sophia_jax.viz.entries import Branch, Entry, EntrySet, Leaf
from sophia_jax.viz.questions import find_pictures
from sophia_jax.viz.rollouts import RolloutShards, read_question_shards

__all__ = ["OTHER_CHOICE", "Decision", "is_above", "rollout_entries"]

Bounds = tuple[float, float]  # the least and the most that a reward can be

NAME = "training rollouts"
OTHER_CHOICE = "another was chosen, by the model’s own tokens or another rule"
SLACK = 1e-6  # of rewards, which are stored in half as many digits as α has
# What says more of a reasoning that is not right than its verdict.
ENDS = {"length": "cut off", "too_long": "prompt too long", "refused": "refused"}
FATES = {
    "wrong": "wrong answer",
    "cut off": "cut off at the length limit",
    "unfinished": "stopped, as it could not change what is kept",
    "undecided": "its answer could not be judged",
    "prompt too long": "never written: its prompt was too long",
    "refused": "never written: the server refused",
}


def is_above(reward: float, threshold: float) -> bool:
    """Whether a caption's stored reward is above α, as the selection had it."""
    return reward > threshold + SLACK


@dataclass(frozen=True)
class Decision:
    """What was decided of a question.

    Attributes:
      row: of the selection.
      length: of the reasoning that was kept, in the reasoner's tokens, if known.
      threshold: α; None where it is not known.
    """

    row: Mapping
    length: int | None
    threshold: float | None

    def passes(self, reward: Bounds | None) -> bool | None:
        """Whether a caption's reward is above α, where both bounds agree."""
        if reward is None or self.threshold is None:
            return None
        least, most = (is_above(bound, self.threshold) for bound in reward)
        return least if least == most else None

    def fate(self, reasoning: Mapping, reward: Bounds | None) -> str:
        """Why a reasoning that is right was not kept.

        Args:
          reasoning: its row, with `num_tokens` in the reasoner's tokens.
          reward: of its caption. What was stopped of it counts as not right, as in the
            selection.
        """
        threshold, row, num_tokens = self.threshold, self.row, reasoning["num_tokens"]
        if reward and threshold is not None and not is_above(reward[0], threshold):
            return f"its caption’s reward is not above {threshold:g}"
        if not row["kept"]:
            return "it has no score" if row["reason"] == NO_SCORE else row["reason"]
        if num_tokens is None or self.length is None:
            return OTHER_CHOICE
        if num_tokens > self.length:
            return "longer than the kept one"
        if num_tokens == self.length and _place(reasoning) > _place(row):
            return "as long as the kept one, which comes first"
        # These lengths do not tell: the policy's tokens decided, or another rule.
        return OTHER_CHOICE


def rollout_entries(
    run_folder: Path,
    shards: RolloutShards,
    total: int,
    items: Mapping[str, Item],
    threshold: float | None,
) -> EntrySet:
    """Every question that was decided on, in the order of the run.

    Args:
      run_folder: from which paths of pictures may start.
      shards: of the three tables.
      total: rows of the selection.
      items: the questions, as far as their file is there.
      threshold: α; None where it is not known.

    Returns:
      The questions, read shard after shard.
    """

    def entries() -> Iterator[Entry]:
        for row, captions, reasonings in read_question_shards(shards):
            item = items.get(row["question_id"])
            length = _kept_length(row, reasonings)
            decision = Decision(row, length, threshold)
            yield _entry(run_folder, item, decision, captions, reasonings)

    return EntrySet(NAME, total, entries())


def _kept_length(row: Mapping, reasonings: Sequence[Mapping]) -> int | None:
    for each in reasonings:
        if row["kept"] and _place(each) == _place(row):
            return each["num_tokens"]
    return None


def _place(row: Mapping) -> tuple[int, int]:
    return row["caption"], row["reasoning"]


def _entry(
    run_folder: Path,
    item: Item | None,
    decision: Decision,
    captions: Sequence[Mapping],
    reasonings: Sequence[Mapping],
) -> Entry:
    row, truth = decision.row, item.caption if item else None
    branches = tuple(
        _branch(caption, reasonings, decision, truth)
        for caption in sorted(captions, key=lambda each: each["caption"])
    )
    pictures, lost = find_pictures(run_folder, item.images if item else ())
    return Entry(
        name=row["question_id"],
        question=item.question if item else "",
        answer=item.answer if item else None,
        pictures=pictures,
        lost=lost,
        status="kept" if row["kept"] else row["reason"],
        good=row["kept"],
        words=_words(row),
        labels=_labels(row, item, branches),
        branches=branches,
        truth=truth,
    )


def _words(row: Mapping) -> str:
    if not row["kept"]:
        return "nothing was kept"
    place = f"reasoning {row['reasoning'] + 1} under caption {row['caption'] + 1}"
    return f"{place}, {row['num_tokens']:,} tokens to learn"


def _labels(
    row: Mapping, item: Item | None, branches: Sequence[Branch]
) -> dict[str, str]:
    labels = {"outcome": "kept" if row["kept"] else row["reason"]}
    if item and item.kind:
        labels["kind"] = item.kind
    if item and item.level:
        labels["level"] = item.level
    known = [each.differences for each in branches if each.differences is not None]
    if known:
        right = sum(map(agrees, known))
        share = "all" if right == len(known) else "some" if right else "none"
        labels["captions right"] = share
    return labels


def _branch(
    caption: Mapping,
    reasonings: Sequence[Mapping],
    decision: Decision,
    truth: str | None,
) -> Branch:
    index, row = caption["caption"], decision.row
    bounds = zip(row["least_caption_rewards"], row["most_caption_rewards"], strict=True)
    reward = dict(enumerate(bounds)).get(index)
    if reward and not all(map(math.isfinite, reward)):
        reward = None
    mine = [each for each in reasonings if each["caption"] == index]
    mine.sort(key=lambda each: each["reasoning"])
    passes = decision.passes(reward)
    return Branch(
        title=f"Caption {index + 1}",
        text=caption["text"],
        note=_note(reward, passes, decision.threshold),
        reward=reward,
        passes=passes,
        differences=(
            None if truth is None else word_differences(caption["text"], truth)
        ),
        leaves=tuple(_leaf(each, reward, decision) for each in mine),
    )


def _note(reward: Bounds | None, passes: bool | None, threshold: float | None) -> str:
    if reward is None or threshold is None:
        return ""
    if passes is None:
        return "stopped early: it could not change what is kept"
    return f"above {threshold:g}" if passes else f"not above {threshold:g}"


def _leaf(row: Mapping, reward: Bounds | None, decision: Decision) -> Leaf:
    verdict = row["verdict"]
    right = verdict == "right"
    mark = verdict if right else ENDS.get(row["finish_reason"], verdict)
    kept = decision.row["kept"] and _place(row) == _place(decision.row)
    note = "kept" if kept else FATES.get(mark, mark)
    if right and not kept:
        note = decision.fate(row, reward)
    return Leaf(mark, note, row["text"], row["num_tokens"], kept)
