"""Random seeds that depend on what is asked, never on the order of asking."""

from __future__ import annotations

import hashlib

__all__ = ["group_seed", "sample_seed"]


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


def sample_seed(seed: int, sample: int) -> int:
    """The 31-bit seed of one sample of a group, for servers, which take no more.

    Args:
      seed: of the group.
      sample: index within the group.

    Returns:
      31 bits of a SHA-256 over both, in [0, 2**31).
    """
    return group_seed(seed, 0, "sample", "", sample) >> 33
