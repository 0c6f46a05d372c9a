"""Answers in LaTeX, without what only changes how they look."""

from __future__ import annotations

import re

__all__ = ["plain", "right_side", "unwrapped"]

_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|boldsymbol)\{")
_WRAPPED = re.compile(
    r"\\(?:text\w{0,6}|math(?:rm|bf|it|sf)|mbox|fbox|boldsymbol|operatorname)\s{0,4}"
    r"\{([^{}]*)\}"
)
_BLANK = re.compile(r"\\(?:quad|qquad|enspace|thinspace)\b|(?<!\\)\\[,;:> ]|~")
_NO_BLANK = re.compile(r"\\!\s?|\{(?=,\})|(?<=\{,)\}")  # 1,\!000 and 1{,}000
_DEGREE = re.compile(r"(?:\{\})?\^\s?(?:\{\s?\\circ\s?\}|\\circ\b)|\\degree\b|°|º")
_EMPHASISED = re.compile(r"\s*(\*{1,2})([^*]+)\1\.?\s*")
_ASSIGNMENT = re.compile(r"[$\s]*(?:\\angle\s?)?\\?[A-Za-z]\w{0,15}\s?=([^=]+)")
_DELIMITER = re.compile(r"(?<!\\)\\[()\[\]]|\$")


def plain(text: str) -> str:
    """The text without what surrounds it: blanks, $, a text command, a full stop."""
    text = text.strip().removesuffix(".").strip("$ \t\r\n")
    command = _TEXT_COMMAND.match(text)
    if command and text.find("}") == len(text) - 1:
        text = text[command.end() : -1].strip()
    return text.removesuffix(".")


def right_side(text: str) -> str:
    """What stands behind "x =" in an answer; the text where it does not begin so."""
    assignment = _ASSIGNMENT.fullmatch(text)
    return assignment[1] if assignment else text


def unwrapped(text: str) -> str:
    r"""The text without delimiters, text commands and commands for blanks.

    Degrees become °, a text command leaves blanks: `12\text{cm}` reads "12 cm".
    """
    emphasised = _EMPHASISED.fullmatch(text)
    text = emphasised[2] if emphasised else text
    text = _NO_BLANK.sub("", _DELIMITER.sub("", text))
    text = _BLANK.sub(" ", text)
    text = _WRAPPED.sub(r" \1 ", _DEGREE.sub("°", text)).replace(r"\%", "%")
    return " ".join(text.split()).removesuffix(".").rstrip()
