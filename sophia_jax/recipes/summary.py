"""What came of the rollouts, in numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np

from sophia_jax.rollouts.selection import KEPT
from sophia_jax.rollouts.tables import RolloutTables

__all__ = ["rollout_summary"]


def rollout_summary(tables: RolloutTables) -> dict:
    """Counts of what was tried, what was right, what was kept, and why not the rest.

    The mean reward of the captions lies between two bounds, where some were stopped.
    Tokens are the reasoner's, and None where a server gave texts alone.
    """
    verdicts, finished, right_tokens = Counter(), Counter(), []
    captions = reasonings = num_tokens = without_tokens = 0
    for shard in range(tables.num_shards):
        captions += len(tables.captions.read(shard))
        for row in tables.reasonings.read(shard):
            reasonings += 1
            verdicts[row["verdict"]] += 1
            finished[row["finish_reason"]] += 1
            num_tokens += len(row["token_ids"])
            without_tokens += bool(row["text"]) and not row["token_ids"]
            if row["verdict"] == "right":
                right_tokens.append(len(row["token_ids"]))
    selection = tables.selection.read_all()
    kept = [row["num_tokens"] for row in selection if row["kept"]]
    mean_rewards = [
        float(np.mean([reward for row in selection for reward in row[bound]]))
        for bound in ("least_caption_rewards", "most_caption_rewards")
    ]
    return {
        "num_questions": len(selection),
        "captions": captions,
        "reasonings": reasonings,
        "right": verdicts["right"],
        "verdicts": dict(verdicts),
        "cut_off": finished["length"],
        "refused": finished["refused"],
        "stopped": finished["cancelled"],
        "reasoning_tokens": None if without_tokens else num_tokens,
        "mean_caption_reward": mean_rewards,
        "kept": len(kept),
        "dropped": dict(
            Counter(row["reason"] for row in selection if row["reason"] != KEPT)
        ),
        "mean_kept_tokens": sum(kept) / len(kept) if kept else None,
        "mean_right_tokens": (
            sum(right_tokens) / len(right_tokens)
            if right_tokens and not without_tokens
            else None
        ),
    }
