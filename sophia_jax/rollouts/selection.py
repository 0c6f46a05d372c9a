"""Back-propagated rewards, and the one trajectory of each question that is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from sophia_jax.config import SophiaConfig
from sophia_jax.rewards import qualifying_trajectories, reward_bounds
from sophia_jax.rollouts.choice import Candidates, Choose, check_choice, shortest
from sophia_jax.rollouts.tables import check_rows
from sophia_jax.types import Item

__all__ = [
    "KEPT",
    "NO_GOOD_CAPTION",
    "NO_RIGHT_ANSWER",
    "NO_SCORE",
    "select_trajectories",
]

KEPT = "kept"
NO_RIGHT_ANSWER = "no right answer"
NO_GOOD_CAPTION = "no caption above the threshold"
NO_SCORE = "no score of a right answer"


def select_trajectories(
    items: Sequence[Item],
    reasonings: Sequence[dict],
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None,
    config: SophiaConfig,
    *,
    choose: Choose = shortest,
) -> list[dict]:
    """The shortest right reasoning under a good caption, for each question.

        R(c) = 1/N Σⱼ R(yⱼ);   kept: argmin L_y over R(c) > α and R(y) = 1

    Args:
      items: the questions.
      reasonings: rows of the reasonings table for these items.
      count_tokens: lengths of texts in the policy's tokens, the end token included;
        None where the reasoner's tokens are the policy's, which are then counted as
        they were sampled.
      config: K, N and α.
      choose: among those over which the argmin is taken; another choice needs
        reasonings of which none was stopped for being longer than another.

    Returns:
      Rows of the selection table, one for each item.

    Raises:
      InputError: the reasonings are not those of these items, K N of each.
      ValueError: reasonings are stopped early, and the choice is another.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (5) and (6).
    """
    check_choice(choose, config)
    sizes = {"caption": config.num_captions, "reasoning": config.num_reasonings}
    check_rows(reasonings, "reasonings", items, **sizes)
    shape = (len(items), *sizes.values())
    texts = np.array([row["text"] for row in reasonings], object).reshape(shape)
    right, wrong = (
        np.array([row["reward"] == reward for row in reasonings], bool).reshape(shape)
        for reward in (1.0, 0.0)
    )
    lengths = np.array([len(row["token_ids"]) for row in reasonings]).reshape(shape)
    if count_tokens is not None:
        lengths[right] = count_tokens(list(texts[right]))
    rows = [
        _select(
            item,
            *(table[index] for table in (right, wrong, lengths, texts)),
            config.threshold,
            choose,
        )
        for index, item in enumerate(items)
    ]
    sampled = np.array(list(reasonings), object).reshape(shape)
    for index, row in enumerate(rows):
        if row["kept"]:
            place = index, row["caption"], row["reasoning"]
            row["behavior_log_prob"] = _behavior_log_prob(sampled[place])
    return rows


def _select(
    item: Item,
    right: np.ndarray,
    wrong: np.ndarray,
    lengths: np.ndarray,
    texts: np.ndarray,
    threshold: float,
    choose: Choose,
) -> dict:
    least, most = reward_bounds(right, wrong).T
    row = {
        "question_id": item.id,
        "least_caption_rewards": least.tolist(),
        "most_caption_rewards": most.tolist(),
    }
    # What was stopped counts as not right: it could not have changed what is kept.
    kept = qualifying_trajectories(right, threshold)
    places = np.argwhere(kept)
    index = None
    if len(places):
        captions = places[:, 0]
        index = choose(
            Candidates(item, tuple(texts[kept]), lengths[kept], least[captions])
        )
    if index is None:
        missing = "caption", "reasoning", "text", "num_tokens", "behavior_log_prob"
        reason = NO_GOOD_CAPTION if right.any() else NO_RIGHT_ANSWER
        reason = NO_SCORE if len(places) else reason
        nothing = dict.fromkeys(missing)
        return {**row, "kept": False, "reason": reason, **nothing, "reward": 0.0}
    caption, reasoning = chosen = tuple(places[index].tolist())
    return {
        **row,
        "kept": True,
        "reason": KEPT,
        "caption": caption,
        "reasoning": reasoning,
        "text": texts[chosen],
        "num_tokens": int(lengths[chosen]),
        "reward": 1.0,
    }


def _behavior_log_prob(reasoning: dict) -> float | None:
    log_probs = reasoning["behavior_log_probs"]
    return None if log_probs is None else math.fsum(log_probs)
