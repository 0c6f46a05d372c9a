"""What a judge's reply says: read strictly, or not at all."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sophia_jax.rewards.answers import after_thinking

__all__ = ["read_preference", "read_score", "yes_probability"]

HIGHEST_SCORE = 10.0
LEAST_MASS = 0.05  # of yes and no together, below which a judge says something else

_SCORE = re.compile(
    r"(?:(?:score|rating)\s*[:=]\s*)?(\d{1,2}(?:\.\d{1,6})?)(?:\s*/\s*10)?\.?",
    re.ASCII | re.IGNORECASE,
)
_PREFERENCE = re.compile(
    r"(?:answer\s+)?(?:\(([ab])\)|([ab]))\.?|(tie)\.?", re.IGNORECASE | re.ASCII
)
_MARKUP = "*` \t\r\n"


def read_score(reply: str) -> float | None:
    """A number from 0 to 10, of a reply that says nothing else.

    "7", "7.5", "7/10" and "Score: 7" are read, after whatever was thought before. A
    reply with any other word, with two numbers, or with one out of range is not: who
    repeats what the judged answer says of itself has not given a score.

    Args:
      reply: whole, with its thoughts between think tags, if there are any.

    Returns:
      The score in [0, 10]; None where there is none to be read.
    """
    match = _SCORE.fullmatch(after_thinking(reply).strip(_MARKUP))
    if match is None or float(match[1]) > HIGHEST_SCORE:
        return None
    return float(match[1])


def read_preference(reply: str) -> float | None:
    """Which of two answers is better, of a reply that says nothing else.

    Args:
      reply: whole, as of `read_score`.

    Returns:
      1 for A, 0 for B, 1/2 for a tie; None where none of them is to be read.
    """
    match = _PREFERENCE.fullmatch(after_thinking(reply).strip(_MARKUP))
    if match is None:
        return None
    if match[3]:
        return 0.5
    return float((match[1] or match[2]).lower() == "a")


def yes_probability(
    first_token: Sequence[tuple[str, float]], *, least_mass: float = LEAST_MASS
) -> float | None:
    """How likely a judge says yes rather than no, by its first token.

        p = e^y / (e^y + e^n),   y = log sum_{t in Yes} e^(log p_t),  n likewise for No

    Yes are all tokens that read "yes", whatever their case and the blanks around: a
    tokenizer has several. A token that a server has not listed, as it lists only the
    likeliest, counts as impossible.

    Args:
      first_token: (text, log-probability in nats) of what a reply can begin with.
      least_mass: the least e^y + e^n, in [0, 1], for an answer to what was asked.

    Returns:
      p in [0, 1]; None where yes and no together are less likely than least_mass.

    Raises:
      ValueError: least_mass is out of its range.
    """
    if not 0 <= least_mass <= 1:
        raise ValueError(f"least_mass: expected in [0, 1], got {least_mass}")
    yes, no = (_log_sum(first_token, word) for word in ("yes", "no"))
    both = _add(yes, no)
    least = math.log(least_mass) if least_mass else -math.inf
    if both == -math.inf or both < least:
        return None
    return math.exp(yes - both)


def _log_sum(first_token: Sequence[tuple[str, float]], word: str) -> float:
    found = -math.inf
    for text, log_prob in first_token:
        if text.strip().casefold() == word:
            found = _add(found, log_prob)
    return found


def _add(one: float, other: float) -> float:
    """log(e^one + e^other)."""
    high, low = max(one, other), min(one, other)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
