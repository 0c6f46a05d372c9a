"""Back-propagated rewards, and the one trajectory of each question that is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sophia_jax.config import SophiaConfig
from sophia_jax.rewards import propagate_rewards, select_trajectory
from sophia_jax.types import Item

__all__ = ["DROPPED", "KEPT", "select_trajectories"]

KEPT = "kept"
DROPPED = ("no right answer", "no caption above the threshold")


def select_trajectories(
    items: Sequence[Item],
    reasonings: Sequence[dict],
    count_tokens: Callable[[Sequence[str]], Sequence[int]],
    config: SophiaConfig,
) -> list[dict]:
    """The shortest right reasoning under a good caption, for each question.

        R(c) = 1/N Σⱼ R(yⱼ);   kept: argmin L_y over R(c) > α and R(y) = 1

    Args:
      items: the questions.
      reasonings: rows of the reasonings table for these items.
      count_tokens: lengths of texts in the policy's tokens, the end token included.
      config: K, N and α.

    Returns:
      Rows of the selection table, one for each item.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (5) and (6).
    """
    shape = (len(items), config.num_captions, config.num_reasonings)
    place = {item.id: index for index, item in enumerate(items)}
    outcomes, lengths = np.zeros(shape, bool), np.ones(shape, np.int64)
    texts = np.empty(shape, object)
    for row in reasonings:
        cell = (place[row["question_id"]], row["caption"], row["reasoning"])
        outcomes[cell] = row["reward"] > 0
        texts[cell] = row["text"]
    lengths[outcomes] = count_tokens(list(texts[outcomes]))
    return [
        _select(item, outcomes[index], lengths[index], texts[index], config)
        for index, item in enumerate(items)
    ]


def _select(
    item: Item,
    outcomes: np.ndarray,
    lengths: np.ndarray,
    texts: np.ndarray,
    config: SophiaConfig,
) -> dict:
    chosen = select_trajectory(outcomes, lengths, threshold=config.threshold)
    caption, reasoning = chosen or (None, None)
    return {
        "question_id": item.id,
        "caption_rewards": np.asarray(propagate_rewards(outcomes)).tolist(),
        "kept": chosen is not None,
        "reason": KEPT if chosen else DROPPED[int(outcomes.any())],
        "caption": caption,
        "reasoning": reasoning,
        "text": texts[chosen] if chosen else None,
        "num_tokens": int(lengths[chosen]) if chosen else None,
        "reward": float(chosen is not None),
    }
