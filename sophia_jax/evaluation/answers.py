"""What kind of answer a question has, and which answers of a model are equal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from sophia_jax.rewards import compare_simple, same_text
from sophia_jax.rewards.choices import given_letter

__all__ = ["AnswerType", "answer_type", "number_answers"]

AnswerType = Literal["choice", "integer", "decimal", "fraction", "text", "expression"]

_CHOICE = re.compile(r"[A-J]|\([A-J]\)|\([A-Z]\)\s+\S.*", re.DOTALL)
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textrm|mathrm)\{([^{}]*)\}")
_WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_NUMBERS: dict[AnswerType, re.Pattern] = {
    "integer": re.compile(rf"[-+]?{_WHOLE}", re.ASCII),
    "decimal": re.compile(rf"[-+]?{_WHOLE}?\.\d+", re.ASCII),
    "fraction": re.compile(
        r"[-+]?(?:\d+\s*/\s*\d+|\\[dt]?frac\s*(?:\{-?\d+\}|\d)\s*(?:\{-?\d+\}|\d))",
        re.ASCII,
    ),
}
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[\s,.;:'\u2019-]+[^\W\d_]+)*[.!?]?")


def answer_type(answer: str) -> AnswerType:
    r"""What kind of answer a right answer is, judged by its looks.

    A "choice" is a letter of A-J, "B" or "(B)", or one of A-Z with its value, as in
    "(B) 12 cm". Numbers are "integer" (also 1,200), "decimal" (12.5) and "fraction"
    (3/4, \frac{3}{4}), without a unit.
    "text" is words alone, the first of two letters at least: "Yes", "red and blue". All
    else is an "expression": 12 cm, 50%, x, 3\sqrt{2}, (1, 2). Surrounding blanks, $, a
    final full stop and a \text{} around all of it are ignored.

    Args:
      answer: the right answer of a question.

    Returns:
      One of the six.
    """
    text = answer.strip().removesuffix(".").strip("$ \t\r\n")
    command = _TEXT_COMMAND.fullmatch(text)
    text = (command[1].strip() if command else text).replace("\N{MINUS SIGN}", "-")
    if _CHOICE.fullmatch(text):
        return "choice"
    for name, pattern in _NUMBERS.items():
        if pattern.fullmatch(text):
            return name
    return "text" if _WORDS.fullmatch(text) else "expression"


def number_answers(extracted: Sequence[str | None]) -> list[int | None]:
    """Numbers that are equal where answers are, for a vote among them.

    Two answers are equal where `same_text` or `compare_simple`, which judge the simple
    answers of questions too, say so in either order: the same number, or the same text
    but for the case and the spacing of words. Where both give a choice letter, it alone
    decides: "(B) 12 cm" is "B. 12 cm". What would need
    algebra stays apart, as 1/2 and 50%. The right answer plays no part.

    Args:
      extracted: the answer of each sample; None for no answer.

    Returns:
      A number for each, from 0 in the order in which new answers come; None for None.
    """
    texts = list(dict.fromkeys(text for text in extracted if text is not None))
    # An answer may equal two that do not equal each other, as "B" two wordings of
    # option B: then all are one, or the result would depend on the order.
    group = list(range(len(texts)))
    for later, text in enumerate(texts):
        for earlier in range(later):
            if group[earlier] != group[later] and _equal(texts[earlier], text):
                merged = {group[earlier], group[later]}
                group = [min(merged) if g in merged else g for g in group]
    numbers = {g: number for number, g in enumerate(dict.fromkeys(group))}
    of_text = {text: numbers[g] for text, g in zip(texts, group, strict=True)}
    return [None if text is None else of_text[text] for text in extracted]


def _equal(one: str, other: str) -> bool:
    letters = [given_letter(text, last="Z") for text in (one, other)]
    if all(letters):
        return letters[0] == letters[1]
    return any(
        same_text(prediction, answer) or compare_simple(prediction, answer)
        for prediction, answer in ((one, other), (other, one))
    )
