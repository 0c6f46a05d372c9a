"""Answers in LaTeX, without what only changes how they look."""

from __future__ import annotations

import re

__all__ = ["plain", "unwrapped"]

_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|boldsymbol)\{")
_WRAPPED = re.compile(
    r"\\(?:text\w{0,6}|math(?:rm|bf|it|sf)|mbox|fbox|boldsymbol|operatorname)\s{0,4}"
    r"\{([^{}]*)\}"
)
_BLANK = re.compile(r"\\(?:quad|qquad|enspace|thinspace)\b|(?<!\\)\\[,;:> ]|~")
_NO_BLANK = re.compile(r"\\!\s?|\{(?=,\})|(?<=\{,)\}")  # 1,\!000 and 1{,}000
_DEGREE = re.compile(r"(?:\{\})?\^\s?(?:\{\s?\\circ\s?\}|\\circ\b)|\\degree\b|°|º")
_DELIMITER = re.compile(r"(?<!\\)\\[()\[\]]|\$")


def plain(text: str) -> str:
    """The text without what surrounds it: blanks, $, a text command, a full stop."""
    text = text.strip().removesuffix(".").strip("$ \t\r\n")
    command = _TEXT_COMMAND.match(text)
    if command and text.find("}") == len(text) - 1:
        text = text[command.end() : -1].strip()
    return text.removesuffix(".")


def unwrapped(text: str) -> str:
    r"""The text without delimiters, text commands and commands for blanks.

    Degrees become °, a text command leaves blanks: `12\text{cm}` reads "12 cm".
    """
    text = _NO_BLANK.sub("", _DELIMITER.sub("", text.strip("* \t\r\n")))
    text = _BLANK.sub(" ", text)
    text = _WRAPPED.sub(r" \1 ", _DEGREE.sub("°", text)).replace(r"\%", "%")
    return " ".join(text.split()).removesuffix(".").rstrip()
