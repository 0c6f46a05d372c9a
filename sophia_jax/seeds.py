"""Random seeds that depend on what is asked, never on the order of asking."""

from __future__ import annotations

import hashlib

__all__ = ["group_seed"]


def group_seed(
    seed: int, round: int, stage: str, question_id: str, caption: int = 0
) -> int:
    """The 64-bit seed of one group of samples.

    Args:
      seed: of the run.
      round: of the run, from 0.
      stage: "caption", "reasoning", "evaluation", ...
      question_id: of the item.
      caption: index of the caption that is reasoned from.

    Returns:
      The first eight bytes of a SHA-256 over all of these, in [0, 2**64).
    """
    name = "\x1f".join((str(seed), str(round), stage, question_id, str(caption)))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
