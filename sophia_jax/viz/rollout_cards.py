"""A few questions of the rollouts, with all that came of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sophia_jax.rollouts.store import CAPTIONS, REASONINGS, SELECTION
from sophia_jax.types import Item
from sophia_jax.viz.columns import rows_about, some_columns
from sophia_jax.viz.in_turn import in_turn
from sophia_jax.viz.pictures import Picture, embed_picture
from sophia_jax.viz.rollouts import RolloutShards

__all__ = ["CaptionLine", "RolloutCard", "choose_questions", "make_cards"]

FEWEST_DROPPED = 4  # of the questions shown, where so many were dropped
# What says more of a reasoning that is not right than its verdict.
ENDS = {"length": "cut off", "too_long": "prompt too long", "refused": "refused"}

_KEPT_TEXT = some_columns(SELECTION, "question_id", "text", "num_tokens")
_CAPTION = some_columns(CAPTIONS, "question_id", "caption", "text")
_REASONING = some_columns(
    REASONINGS,
    "question_id",
    "caption",
    "reasoning",
    "text",
    "verdict",
    "reward",
    "finish_reason",
)


@dataclass(frozen=True)
class CaptionLine:
    """One caption of a question.

    Attributes:
      text: as the model wrote it.
      reward: the least and the most that the share of its right reasonings can be;
        equal unless some were stopped; None before the selection.
      outcomes: verdict of each of its reasonings, or of a wrong one its end, in order.
      passes: whether the reward is above the threshold; None where that is not known,
        and where it was stopped since it no longer mattered.
      kept_reasoning: index of the reasoning that was kept, where it is one of these.
    """

    text: str
    reward: tuple[float, float] | None
    outcomes: tuple[str, ...]
    passes: bool | None
    kept_reasoning: int | None


@dataclass(frozen=True)
class WrongReasoning:
    """A reasoning that was not right; its outcome says in which way."""

    caption: int
    reasoning: int
    text: str
    outcome: str


@dataclass(frozen=True)
class RolloutCard:
    """A question of the rollouts with all that came of it.

    Attributes:
      item: the question; None where its file is not there.
      reason: why it was kept or dropped.
      kept_text: the trajectory that was kept, of kept_tokens policy tokens.
      wrong: the first reasoning that was not right, where there is one.
    """

    question_id: str
    item: Item | None
    picture: Picture | None
    captions: tuple[CaptionLine, ...]
    kept: bool
    reason: str
    caption: int | None
    reasoning: int | None
    kept_text: str | None
    kept_tokens: int | None
    wrong: WrongReasoning | None


def choose_questions(
    selection: Sequence[dict], items: Mapping[str, Item], num_questions: int
) -> list[dict]:
    """The questions to show: the kinds in turn, in the order of the run.

    Kept ones come first, among them those whose captions earned different rewards;
    dropped ones take turns by reason.

    Args:
      selection: rows of the table.
      items: the questions.
      num_questions: how many to show.

    Returns:
      Their rows.
    """

    def kept_group(row: dict) -> tuple[bool, str]:
        item = items.get(row["question_id"])
        rewards = zip(
            row["least_caption_rewards"], row["most_caption_rewards"], strict=True
        )
        return len(set(rewards)) == 1, item.kind if item else ""

    kept = in_turn([row for row in selection if row["kept"]], kept_group)
    dropped = in_turn(
        [row for row in selection if not row["kept"]], lambda row: row["reason"]
    )
    num_kept = num_questions - min(FEWEST_DROPPED, len(dropped))
    shown = kept[:num_kept]
    return shown + dropped[: num_questions - len(shown)]


def make_cards(
    shards: RolloutShards,
    chosen: Sequence[dict],
    items: Mapping[str, Item],
    threshold: float | None,
) -> list[RolloutCard]:
    """The chosen questions with their texts and pictures.

    Args:
      shards: of the three tables.
      chosen: rows of the selection.
      items: the questions.
      threshold: α; None where it is not known.

    Returns:
      One card for each.
    """
    ids = {row["question_id"] for row in chosen}
    captions = _by_question(rows_about(shards.captions.paths, _CAPTION, ids))
    reasonings = _by_question(rows_about(shards.reasonings.paths, _REASONING, ids))
    texts = _by_question(rows_about(shards.selection.paths, _KEPT_TEXT, ids))
    return [
        _card(
            row,
            items.get(row["question_id"]),
            _caption_lines(
                row,
                captions.get(row["question_id"], []),
                reasonings.get(row["question_id"], []),
                threshold,
            ),
            texts[row["question_id"]][0],
            _first_wrong(reasonings.get(row["question_id"], [])),
        )
        for row in chosen
    ]


def _card(
    row: dict,
    item: Item | None,
    captions: tuple[CaptionLine, ...],
    kept: dict,
    wrong: WrongReasoning | None,
) -> RolloutCard:
    return RolloutCard(
        question_id=row["question_id"],
        item=item,
        picture=embed_picture(item.images[0]) if item else None,
        captions=captions,
        kept=row["kept"],
        reason=row["reason"],
        caption=row["caption"],
        reasoning=row["reasoning"],
        kept_text=kept["text"],
        kept_tokens=kept["num_tokens"],
        wrong=wrong,
    )


def _by_question(rows: Iterable[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["question_id"], []).append(row)
    return found


def _caption_lines(
    selected: dict,
    captions: Sequence[dict],
    reasonings: Sequence[dict],
    threshold: float | None,
) -> tuple[CaptionLine, ...]:
    bounds = selected["least_caption_rewards"], selected["most_caption_rewards"]
    rewards = dict(enumerate(zip(*bounds, strict=True)))
    lines = []
    for row in sorted(captions, key=lambda row: row["caption"]):
        index = row["caption"]
        reward = rewards.get(index)
        mine = [each for each in reasonings if each["caption"] == index]
        mine.sort(key=lambda each: each["reasoning"])
        lines.append(
            CaptionLine(
                text=row["text"],
                reward=reward,
                outcomes=tuple(_outcome(each) for each in mine),
                passes=_passes(reward, threshold),
                kept_reasoning=(
                    selected["reasoning"] if selected["caption"] == index else None
                ),
            )
        )
    return tuple(lines)


def _passes(reward: tuple[float, float] | None, threshold: float | None) -> bool | None:
    """Where both bounds of the reward agree."""
    if reward is None or threshold is None:
        return None
    least, most = (bound > threshold + 1e-9 for bound in reward)
    return least if least == most else None


def _outcome(row: dict) -> str:
    verdict = row["verdict"]
    return verdict if verdict == "right" else ENDS.get(row["finish_reason"], verdict)


def _first_wrong(reasonings: Sequence[dict]) -> WrongReasoning | None:
    for row in sorted(reasonings, key=lambda row: (row["caption"], row["reasoning"])):
        if row["reward"] == 0:
            return WrongReasoning(
                row["caption"], row["reasoning"], row["text"], _outcome(row)
            )
    return None
