"""What an alignment leaves of its pairs: texts, and rewards of those held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sophia_jax.data.preferences import Preference
from sophia_jax.recipes.preferences import Pairs
from sophia_jax.rollouts.pairs import MinedPair
from sophia_jax.rollouts.store import ShardedTable

__all__ = ["write_pairs", "write_rewards"]

PAIRS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("question_id", pa.string()),
        pa.field("question", pa.string(), nullable=False),
        pa.field("system", pa.string()),
        pa.field("images", pa.list_(pa.string()), nullable=False),
        pa.field("chosen", pa.string(), nullable=False),
        pa.field("rejected", pa.string(), nullable=False),
        pa.field("rejected_ended", pa.bool_(), nullable=False),
        pa.field("held_out", pa.bool_(), nullable=False),
        pa.field("chosen_caption", pa.int32()),
        pa.field("chosen_reasoning", pa.int32()),
        pa.field("rejected_caption", pa.int32()),
        pa.field("rejected_reasoning", pa.int32()),
    ]
)
"""One row per pair; the question's id and the places are null unless it was mined."""

REWARDS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("chosen_log_ratio", pa.float32(), nullable=False),
        pa.field("rejected_log_ratio", pa.float32(), nullable=False),
        pa.field("reward_margin", pa.float32(), nullable=False),
    ]
)
"""One row per held-out pair, after the last update; log-ratios in nats."""

PAIRS_PER_SHARD = 4096


def write_pairs(folder: Path, pairs: Pairs, held_out: Sequence[bool]) -> None:
    """The table `pairs`, which can itself be read as preferences."""
    number = len(pairs.preferences)
    table = ShardedTable(folder, PAIRS, -(-number // PAIRS_PER_SHARD))
    places = pairs.mined or (None,) * number
    rows = list(map(_row, pairs.preferences, places, held_out))
    for shard in table.missing():
        start = shard * PAIRS_PER_SHARD
        table.write(shard, rows[start : start + PAIRS_PER_SHARD])


def _row(item: Preference, mined: MinedPair | None, held_out: bool) -> dict:
    nowhere = (None, None)
    chosen = nowhere if mined is None else mined.chosen
    rejected = nowhere if mined is None else mined.rejected
    return {
        "id": item.id,
        "question_id": None if mined is None else mined.question_id,
        "question": item.question,
        "system": item.system,
        "images": list(item.images),
        "chosen": item.answer,
        "rejected": item.rejected,
        "rejected_ended": item.rejected_ended,
        "held_out": bool(held_out),
        "chosen_caption": chosen[0],
        "chosen_reasoning": chosen[1],
        "rejected_caption": rejected[0],
        "rejected_reasoning": rejected[1],
    }


def write_rewards(
    folder: Path, ids: Sequence[str], values: dict[str, np.ndarray]
) -> None:
    """The table of held-out pairs.

    Args:
      folder: of the table.
      ids: of the pairs.
      values: of `pair_values`.
    """
    table = ShardedTable(folder, REWARDS, 1)
    names = REWARDS.names[1:]
    columns = (np.asarray(values[name], np.float32).tolist() for name in names)
    rows = zip(ids, *columns, strict=True)
    for shard in table.missing():
        table.write(shard, [dict(zip(REWARDS.names, row, strict=True)) for row in rows])
