"""Rows of preferences: a prompt, a chosen answer, and a rejected one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sophia_jax.data.fields import (
    QUESTIONS,
    bad_field,
    first_given,
    is_text,
    optional_text,
)
from sophia_jax.types import Item

__all__ = ["CHOSEN", "PREFERENCES", "REJECTED", "Preference", "make_preference"]

CHOSEN, REJECTED = "chosen", "rejected"
PREFERENCES = (CHOSEN, REJECTED, "rejected_ended", "system")
"""All fields that are looked at beside those of an item."""
IMAGE = "<image>\n"  # a marker, which says where a picture of the row belongs


@dataclass(frozen=True)
class Preference(Item):
    """Two answers to one question, of which the first is preferred.

    Attributes:
      answer: the chosen text, to be learnt as it stands.
      rejected: the other text.
      system: the system prompt of both; None for the default of the chat template.
      rejected_ended: whether the other text came to its end, or was cut off: then it
        has no end token.
    """

    rejected: str = ""
    system: str | None = None
    rejected_ended: bool = True


def make_preference(
    row: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Item]
) -> Preference:
    """A preference from the fields of a row, whatever kind of file it stood in.

    `chosen` and `rejected` are texts, or chats, which end with the answer; the prompt
    is `question` or `prompt`, a text or a chat, or what the two chats begin with. A
    chat is a list of {"role", "content"}: one message of the user, after one of the
    system or none; a content is a text, or a list of {"type": "text", "text"} and
    {"type": "image"}. Where it has no system message the field `system` counts. A
    text that was cut off has the field `rejected_ended`, false.

    Args:
      row: its fields.
      make: an item to imitate of a row with a `question` and an `answer`.

    Returns:
      The preference, without image markers.

    Raises:
      InputError: a field is missing, has another type, or breaks its rule.
    """
    before, chosen = _answer(row, CHOSEN)
    rejected_before, rejected = _answer(row, REJECTED)
    if before != rejected_before:
        raise bad_field(REJECTED, "the chosen answer's prompt", rejected_before)
    if chosen == rejected:
        raise bad_field(REJECTED, "another text than the chosen one", rejected)
    ended = True if (given := row.get("rejected_ended")) is None else given
    if not isinstance(ended, bool):
        raise bad_field("rejected_ended", "true or false", ended)
    system, question = _prompt(row, before)
    fields = {name: value for name, value in row.items() if name not in QUESTIONS}
    item = make(fields | {"question": question, "answer": chosen})
    return Preference(
        **(vars(item) | {"answer": chosen}),
        rejected=rejected,
        system=optional_text(row, "system") if system is None else system,
        rejected_ended=ended,
    )


def _prompt(
    row: Mapping[str, Any], before: list[tuple[str, str]] | None
) -> tuple[str | None, str]:
    """The system prompt, if a chat has one, and what the user says.

    Args:
      row: its fields.
      before: messages that the answers' chats begin with; None where there are none.
    """
    name, prompt = first_given(row, QUESTIONS)
    if isinstance(prompt, list):
        messages = _messages(name, prompt)
    elif is_text(prompt):
        messages = [("user", prompt)]
    elif prompt is None and before:
        name, messages = CHOSEN, before
    else:
        raise bad_field(name, "a text, or a chat as a list of messages", prompt)
    if before and _asked(messages) != _asked(before):
        raise bad_field(CHOSEN, "a chat that begins with the prompt", before)
    system, question = _split(name, messages)
    return _split(CHOSEN, before)[0] if before and system is None else system, question


def _answer(
    row: Mapping[str, Any], name: str
) -> tuple[list[tuple[str, str]] | None, str]:
    """The messages before an answer, None where it is a text; and the answer."""
    value = row.get(name)
    if not isinstance(value, list):
        if not is_text(value):
            raise bad_field(name, "a non-empty text, or a chat", value)
        return None, value
    *before, (role, text) = _messages(name, value)
    if role != "assistant" or not text.strip():
        raise bad_field(name, "a chat that ends with the assistant's text", value)
    return before or None, text


def _messages(name: str, chat: Sequence[Any]) -> list[tuple[str, str]]:
    """Role and text of each message, of which there is one at least."""
    if not chat:
        raise bad_field(name, "a chat of one message or more", chat)
    found = []
    for message in chat:
        role = message.get("role") if isinstance(message, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, list):
            content = "".join(_part(name, part) for part in content)
        if role not in ("system", "user", "assistant") or not is_text(content):
            rule = 'messages {"role": "system", "user" or "assistant", "content": text}'
            raise bad_field(name, rule, message)
        found.append((role, content))
    return found


def _part(name: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind == "image":
        return IMAGE
    raise bad_field(name, 'parts {"type": "text", "text"} or {"type": "image"}', part)


def _asked(messages: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(role, text.strip()) for role, text in messages if role != "system"]


def _split(name: str, messages: Sequence[tuple[str, str]]) -> tuple[str | None, str]:
    """The system prompt, if there is one, and what the user says."""
    roles = [role for role, _ in messages]
    if roles not in (["user"], ["system", "user"]):
        rule = "one message of the user, after one of the system or none"
        raise bad_field(name, rule, roles)
    system = messages[0][1] if len(messages) == 2 else None
    return system, messages[-1][1]
