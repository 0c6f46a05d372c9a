"""The options of a multiple choice, and which of them is the answer."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from sophia_jax.data.fields import bad_field

__all__ = [
    "LETTERS",
    "are_drawn",
    "choice_answer",
    "inline_options",
    "option_lines",
    "without_letters",
]

LETTERS = string.ascii_uppercase
_LETTER = re.compile(r"\(?([A-Z])[).:]?")
_LABELLED = re.compile(r"(?:\(([A-Z])\)|([A-Z])[).:])\s+(\S.*)", re.DOTALL)
# A blank must follow "A." and "A:", which may begin a name or a ratio: "A.M.", "A:B".
_OWN_LETTER = re.compile(r"\s*(?:(?:\(([A-Z])\)|([A-Z])\))\s*|([A-Z])[.:]\s+)(?=\S)")
_INLINE = re.compile(r"\(([A-Z])\)")


def are_drawn(options: Sequence[str]) -> bool:
    """Whether the options stand in the picture: each bare, or its letter alone."""
    return all(
        option in ("", letter) for letter, option in zip(LETTERS, options, strict=False)
    )


def option_lines(options: Sequence[str]) -> list[str]:
    """ "A. ..." for each option; nothing where they stand in the picture."""
    if are_drawn(options):
        return []
    pairs = zip(LETTERS, options, strict=False)
    return [f"{letter}. {option}".rstrip() for letter, option in pairs]


def without_letters(options: Sequence[str]) -> list[str]:
    """Options as "A. 3" or "(A) 3" without the letters, where each bears its own."""
    found = [_OWN_LETTER.match(option) for option in options]
    letters = [match and (match[1] or match[2] or match[3]) for match in found]
    if letters != list(LETTERS[: len(options)]):
        return list(options)
    return [option[match.end() :] for option, match in zip(options, found, strict=True)]


def inline_options(question: str) -> list[str]:
    """Options that a question ends with, as "(A) yes (B) no"; none where it does not.

    Args:
      question: in which the letters follow each other from A, two at least.

    Returns:
      The text behind each letter.
    """
    found = list(_INLINE.finditer(question))
    starts = [index for index, match in enumerate(found) if match[1] == "A"]
    if not starts:
        return []
    found = found[starts[-1] :]
    named = "".join(match[1] for match in found)
    if len(named) < 2 or not LETTERS.startswith(named):
        return []
    ends = [*(match.start() for match in found[1:]), len(question)]
    return [
        question[match.end() : end].strip(" \t\n,;")
        for match, end in zip(found, ends, strict=True)
    ]


def choice_answer(answer: str, options: Sequence[str]) -> str:
    """The answer of a multiple choice, as letter and value.

    Args:
      answer: the letter, as "B" or "(B)"; or the option's text; or both of one option,
        as "(B) 12 cm".
      options: their texts, in the order of their letters.

    Returns:
      "(B) 12 cm"; the letter alone where the option has no text of its own, or shares
      it with another.

    Raises:
      InputError: it is no option, or fits two of them.
    """
    texts = [" ".join(option.split()) for option in options]
    fitting = _fitting(answer, texts)
    if len(fitting) != 1:
        last = LETTERS[len(options) - 1]
        note = " and ".join(LETTERS[index] for index in sorted(fitting))
        raise bad_field(
            "answer",
            f"a letter of A to {last}, or the text of one option",
            answer,
            f"fits {note}" if note else "",
        )
    (index,) = fitting
    letter, text = LETTERS[index], texts[index]
    if text in ("", letter) or texts.count(text) > 1:
        return letter
    return f"({letter}) {text}"


def _fitting(answer: str, texts: Sequence[str]) -> set[int]:
    """Indices of the options that an answer may mean."""
    answer = " ".join(answer.split())
    letter, labelled = _LETTER.fullmatch(answer), _LABELLED.fullmatch(answer)
    fitting = {index for index, text in enumerate(texts) if text == answer}
    if letter and (index := LETTERS.index(letter[1])) < len(texts):
        # Of two options with one text, the letter tells which.
        same = texts[index] == answer
        fitting = {index} if same else fitting | {index}
    elif labelled and not fitting:
        index = LETTERS.index(labelled[1] or labelled[2])
        if index < len(texts) and labelled[3] in (texts[index], LETTERS[index]):
            fitting = {index}
    if fitting:
        return fitting
    folded = answer.casefold()
    return {index for index, text in enumerate(texts) if text.casefold() == folded}
