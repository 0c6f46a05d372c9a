"""Multiple choice: the letter and the value of an option, and the letter one gives."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from sophia_jax.rewards.latex import plain, unwrapped

__all__ = ["Option", "given_letter", "is_undecided", "last_letter", "read_option"]

_LONE = re.compile(r"([A-J])|\(([A-Ja-j])\)")
_REPEATED = re.compile(r"([A-Z])|\(([A-Za-z])\)")
_OPTION = re.compile(r"\(([A-Z])\)\s{1,8}(\S.*)", re.DOTALL)
_LETTER = (
    r"(?:(?i:option|choice|answer)\s{1,4})?"
    r"(?:\(\s?([A-Ja-j])\s?\)|([A-J])(?:[).:](?=\s|$)|$|(?=,\s|\s(?:because|since)\s)))"
)
_NAMED_LETTER = r"(?i:option|choice|answer)\s{1,4}\(?([A-J])\b(?!['\u2019])"
_LETTER_AT_END = r"\s\(([A-J])\)$"
_SECOND_LETTER = re.compile(
    r"[\s),.]*(?:and|or|,|&|/)\s*(?:\(?[A-J]\b|\([K-Z]\)|[K-Z](?=[).]|$))"
)
_FIRST_LETTER = re.compile(
    r"(?<![A-Za-z])[A-Z]\)?[\s$*]*(?:[,;&/]|,?\s(?:and|or|nor)\s)[\s$*]*"
    r"(?:(?:option|choice|and|or)\s)?[\s$*(]*$"
)
_DENIAL = re.compile(
    r"(?:\b(?:not|cannot|never|nor|than|instead\sof)|n['\u2019]t)\s{1,4}"
    r"(?:(?:a|an|be|been|the|in|either|option|choice|answer|correct|right|region)\s{1,4})"
    r"{0,4}[$*(]*$",
    re.IGNORECASE,
)
_MOST_BEFORE = 64


class Option(NamedTuple):
    """An option of a multiple choice question.

    Attributes:
      letter: one of A-Z; beyond J only with a value.
      value: what the option says; None where only the letter is known.
    """

    letter: str
    value: str | None


def read_option(answer: str) -> Option | None:
    """Read a right answer as an option: "B", or "(B) 12 cm" with its value.

    A capital beyond J that stands alone is no option, but a value.

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
    # Drawn options have their letters for values: "(B) B)".
    lone = _REPEATED.fullmatch(plain(value).removesuffix(")"))
    repeats = lone is not None and lone[lone.lastindex].upper() == option[1]
    return Option(option[1], None if repeats else value)


def is_undecided(before: str) -> bool:
    """Whether the text before a final letter denies it or puts it beside another.

    Args:
      before: what precedes the letter: "It is (A) or (", "The answer cannot be ".

    Returns:
      True if the letter is not the answer that the text gives.
    """
    end = before[-_MOST_BEFORE:]
    return bool(_FIRST_LETTER.search(end) or _DENIAL.search(end))


def given_letter(prediction: str, last: str = "J") -> str | None:
    r"""The one choice letter that an answer gives, whether or not it repeats the value.

    Read as a letter: "B", "(b)", "B.", "B) 12 cm", `\text{(B)}\ 12`, "option B",
    "12 cm (B)". Not read: "b", "AB", "B 12", "not (B)", and "(A) or (E)", which
    gives two.

    Args:
      prediction: an extracted answer.
      last: the last letter that may be a choice: "J", or "Z" for long lists of options.

    Returns:
      The letter as a capital, or None: it gives none, or several.
    """
    text = unwrapped(prediction).strip("{} ")
    letter, named, at_end = _patterns(last)
    match = letter.match(text) or named.match(text)
    if match:
        if _SECOND_LETTER.match(text, match.end()):
            return None
        return match[match.lastindex].upper()
    match = at_end.search(text[-8:])
    if match is None or is_undecided(text[:-2]):
        return None
    return match[1]


def last_letter(option: Option) -> str:
    """The last letter that an answer to the option's question may be."""
    return "J" if option.letter <= "J" else "Z"


@functools.cache
def _patterns(last: str) -> tuple[re.Pattern, ...]:
    letters = (f"A-{last}", f"a-{last.lower()}")
    return tuple(
        re.compile(pattern.replace("A-J", letters[0]).replace("a-j", letters[1]))
        for pattern in (_LETTER, _NAMED_LETTER, _LETTER_AT_END)
    )
