"""Multiple choice: the letter and the value of an option, and the letter one gives."""

from __future__ import annotations

import re
from typing import NamedTuple

from sophia_jax.rewards.latex import plain, unwrapped

__all__ = ["Option", "given_letter", "read_option"]

_LONE = re.compile(r"([A-J])|\(([A-Ja-j])\)")
_OPTION = re.compile(r"\(([A-J])\)\s{1,8}(\S.*)", re.DOTALL)
_LETTER = re.compile(
    r"(?:(?i:option|choice|answer)\s{1,4})?"
    r"(?:\(\s?([A-Ja-j])\s?\)|([A-J])(?:[).:](?=\s|$)|$|(?=,\s|\s(?:because|since)\s)))"
)
_NAMED_LETTER = re.compile(r"(?i:option|choice|answer)\s{1,4}\(?([A-J])\b(?!['\u2019])")
_LETTER_AT_END = re.compile(r"\s\(([A-J])\)$")
_SECOND_LETTER = re.compile(r"[\s),.]*(?:and|or|,|&|/)\s*\(?[A-J]\b")


class Option(NamedTuple):
    """An option of a multiple choice question.

    Attributes:
      letter: one of A-J.
      value: what the option says; None where only the letter is known.
    """

    letter: str
    value: str | None


def read_option(answer: str) -> Option | None:
    """Read a right answer as an option: "B", or "(B) 12 cm" with its value.

    Args:
      answer: the right answer.

    Returns:
      The option, or None: it is not one.
    """
    text = plain(answer)
    lone = _LONE.fullmatch(text)
    if lone:
        return Option(lone[lone.lastindex].upper(), None)
    option = _OPTION.fullmatch(answer.strip())
    if option is None:
        return None
    value = option[2].strip()
    lone = _LONE.fullmatch(plain(value).removesuffix(")"))  # drawn options: "(B) B)"
    repeats = lone is not None and lone[lone.lastindex].upper() == option[1]
    return Option(option[1], None if repeats else value)


def given_letter(prediction: str) -> str | None:
    r"""The one choice letter that an answer gives, whether or not it repeats the value.

    Read as a letter: "B", "(b)", "B.", "B) 12 cm", `\text{(B)}\ 12`, "option B",
    "12 cm (B)". Not read: "b", "AB", "B 12", and "(A) or (E)", which gives two.

    Args:
      prediction: an extracted answer.

    Returns:
      The letter as a capital, or None: it gives none, or several.
    """
    text = unwrapped(prediction).strip("{} ")
    match = _LETTER.match(text) or _NAMED_LETTER.match(text)
    if match:
        if _SECOND_LETTER.match(text, match.end()):
            return None
        return match[match.lastindex].upper()
    match = _LETTER_AT_END.search(text[-8:])
    return match[1] if match else None
