"""What an OpenAI-compatible server replies, read as untrusted input."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sophia_jax.types import FinishReason

__all__ = ["BadReply", "Reply", "StreamedReply", "load_object", "read_reply"]

REFUSALS = ("content_filter", "tool_calls", "function_call")  # for which no retry helps
MOST_TOKENS = 2**40  # that one reply can claim
ROUNDING = 1e-3  # by which a log-probability may exceed 0


class BadReply(ValueError):
    """A reply lacks what was asked; one line says what."""


@dataclass(frozen=True)
class Reply:
    """One answer of a server.

    Attributes:
      text: thoughts between think tags, if there are any, and the answer.
      finish_reason: "stop", "length" or "refused".
      log_probs: Float[token] in nats, in the server's own tokens, or None.
      counts: tokens that it claims, and what it lacks.
      first_token: what the answer could have begun with, as (token's text, nats), or
        None.
    """

    text: str
    finish_reason: FinishReason
    log_probs: tuple[float, ...] | None
    counts: Mapping[str, int]
    first_token: tuple[tuple[str, float], ...] | None = None


def load_object(text: str | bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
      BadReply: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadReply(f"expected JSON, got {text[:80]!r}") from None
    if not isinstance(value, dict):
        raise BadReply(f"expected a JSON object, got {text[:80]!r}")
    return value


def read_reply(reply: Mapping[str, Any]) -> Reply:
    """Read a `chat.completion` with the one choice that was asked for.

    Thoughts that a server has parted from the answer are put back before it, in the
    form that QwQ and DeepSeek-R1 write, whatever blank lines the server has left of it.
    Where a chat template opens the thoughts itself, the reply has the closing tag alone
    and gets the other one.

    Args:
      reply: the object that the server sent.

    Returns:
      The answer. What a content filter stopped, or ended in a call of a tool, which
      nobody offered, is "refused".

    Raises:
      BadReply: there is no such answer in it, or it says that it has not ended.
    """
    if (error := _error(reply)) is not None:
        raise BadReply(f"expected an answer, got error {str(error)[:200]!r}")
    choice = _only_choice(reply)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise BadReply(f"choices[0].message: expected an object, got {message!r:.80}")
    said = choice.get("finish_reason")
    counts = _tokens(reply.get("usage"))
    if message.get("refusal"):  # in the words of the model, with a common end
        said = "content_filter"
    if said in REFUSALS:
        counts[f"refused/{said}"] = 1
    elif said not in ("stop", "length"):
        raise BadReply(
            f"choices[0].finish_reason: expected stop or length, got {said!r:.80}"
        )
    reason: FinishReason = "refused" if said in REFUSALS else said
    logprobs = choice.get("logprobs")
    return Reply(
        _text(message, reason),
        reason,
        _log_probs(logprobs),
        counts,
        _first_token(logprobs),
    )


class StreamedReply:
    """The pieces of a stream, put together as the reply would have come at once."""

    def __init__(self):
        self._said: dict[str, list[str]] = {}
        self._tokens: list[Any] = []
        self._choice: dict[str, Any] = {}
        self._usage = self._error = None

    def add(self, event: Mapping[str, Any]) -> None:
        """Take a `chat.completion.chunk`.

        Raises:
          BadReply: it is of another choice, or no piece at all.
        """
        if (error := _error(event)) is not None:
            self._error = error
        self._usage = event.get("usage") or self._usage
        if not event.get("choices"):
            return  # usage comes alone
        choice = _only_choice(event)
        if choice.get("index") not in (0, None):
            raise BadReply(f"choices: expected index 0, got {choice['index']!r:.80}")
        self._add_delta(choice.get("delta"))
        if choice.get("finish_reason") is not None:
            self._choice["finish_reason"] = choice["finish_reason"]
        logprobs = choice.get("logprobs")
        if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
            self._tokens += logprobs["content"]

    def _add_delta(self, delta: Any) -> None:
        if delta is None:
            return
        if not isinstance(delta, dict):
            raise BadReply(f"choices[0].delta: expected an object, got {delta!r:.80}")
        for name in ("content", "reasoning_content", "reasoning", "refusal"):
            piece = delta.get(name)
            if piece is None:
                continue
            if not isinstance(piece, str):
                raise BadReply(f"delta.{name}: expected a string, got {piece!r:.80}")
            self._said.setdefault(name, []).append(piece)

    def whole(self) -> dict[str, Any]:
        """A `chat.completion`, as far as it came."""
        message = {name: "".join(pieces) for name, pieces in self._said.items()}
        logprobs = {"content": self._tokens}
        choice = {**self._choice, "message": message, "logprobs": logprobs}
        return {"choices": [choice], "usage": self._usage, "error": self._error}


def _error(reply: Mapping[str, Any]) -> Any:
    """What a server says of a failure, inside of a reply or in its stead."""
    if reply.get("object") == "error":
        return reply.get("message")
    return reply.get("error")


def _only_choice(reply: Mapping[str, Any]) -> dict[str, Any]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        number = len(choices) if isinstance(choices, list) else f"{choices!r:.80}"
        raise BadReply(f"choices: expected 1, got {number}")
    if not isinstance(choices[0], dict):
        raise BadReply(f"choices[0]: expected an object, got {choices[0]!r:.80}")
    return choices[0]


def _text(message: Mapping[str, Any], reason: FinishReason) -> str:
    content = message.get("content")
    # vLLM has renamed the field, and others have either name.
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    for name, value in (("content", content), ("reasoning_content", thoughts)):
        if value is not None and not isinstance(value, str):
            raise BadReply(f"message.{name}: expected a string, got {value!r:.80}")
    if content is None and reason == "stop":
        raise BadReply("message.content: expected a string, got None")
    text = content or ""
    if thoughts:
        opened = "<think>\n" + thoughts.lstrip("\n")
        if text or reason == "stop":
            text = opened.rstrip("\n") + "\n</think>\n\n" + text.lstrip("\n")
        else:
            text = opened
    elif "</think>" in text and "<think>" not in text:
        text = "<think>\n" + text
    # Halves of a character can come in two pieces; a lone one cannot be stored.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _log_probs(logprobs: Any) -> tuple[float, ...] | None:
    """Of each token; None where any of them is missing or is no log-probability."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return None
    values = [
        token.get("logprob") if isinstance(token, dict) else None for token in content
    ]
    if not all(map(_is_log_prob, values)):
        return None
    return tuple(map(float, values))


def _first_token(logprobs: Any) -> tuple[tuple[str, float], ...] | None:
    """The likeliest first tokens; None where any of them is no text with its number."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content else None
    listed = first.get("top_logprobs") if isinstance(first, dict) else None
    if not isinstance(listed, list) or not listed:
        return None
    found = []
    for each in listed:
        token, value = (
            (each.get("token"), each.get("logprob"))
            if isinstance(each, dict)
            else (None, None)
        )
        if not isinstance(token, str) or not _is_log_prob(value):
            return None
        found.append((token, float(value)))
    return tuple(found)


def _is_log_prob(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value <= ROUNDING


def _tokens(usage: Any) -> Counter[str]:
    """What a reply says that it cost; `answers_without_usage` where it does not."""
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    prompt, answer = map(
        _count, (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    )
    if prompt is None or answer is None:
        return Counter(answers_without_usage=1)
    cached = _count(details.get("cached_tokens"))
    if cached is None:  # DeepSeek's own name
        cached = _count(usage.get("prompt_cache_hit_tokens"))
    return Counter(
        prompt_tokens=prompt,
        cached_tokens=min(cached or 0, prompt),
        completion_tokens=answer,
    )


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MOST_TOKENS else None
