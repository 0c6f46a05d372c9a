"""What a server was asked, and what that cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

__all__ = ["usage_summary"]


def usage_summary(
    counts: Mapping[str, float], prices: tuple[float, float, float] | None = None
) -> dict:
    """What a server was asked, and what that cost.

    Args:
      counts: of the journal.
      prices: of a million tokens of prompts, of prompts that were found in a cache, and
        of answers; None where they are not known.

    Returns:
      Requests, retries by reason, tokens, seconds and the cost of what was answered;
      `answers_without_usage` and `dropped` say of how many it is not known.
    """

    def under(prefix: str) -> dict[str, int]:
        names = sorted(name for name in counts if name.startswith(prefix))
        return {name.removeprefix(prefix): int(counts[name]) for name in names}

    number = Counter(counts)
    prompt, cached = number["prompt_tokens"], number["cached_tokens"]
    cost = None
    if prices is not None:
        tokens = (prompt - cached, cached, number["completion_tokens"])
        cost = sum(n * price for n, price in zip(tokens, prices, strict=True)) / 1e6
    return {
        "requests": number["requests"],
        "answers": number["answers"],
        "retries": under("retries/"),
        "refused": under("refused/"),
        "too_long": number["too_long"],
        "dropped": number["dropped"],
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "completion_tokens": number["completion_tokens"],
        "answers_without_usage": number["answers_without_usage"],
        "answers_without_log_probs": number["answers_without_log_probs"],
        "request_seconds": round(number["request_seconds"], 1),
        "cost": cost,
    }
