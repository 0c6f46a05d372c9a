"""Finding the answer in a response."""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from sophia_jax.rewards.choices import is_undecided
from sophia_jax.rewards.comparison import THOUSANDS

__all__ = ["after_thinking", "extract_answer"]

# No answer is longer; what is longer is a derivation, a loop or an attack.
MAX_ANSWER_CHARS = 4096

_NUMBER_IN_TEXT = re.compile(
    r"(?<![\w.])(?:(?<![)\]}])[-+\u2212])?"  # in 5-4 and (5)-4 the dash is no sign
    rf"(?:\d+/\d+|(?:{THOUSANDS}|\d+,\d+|\d+)(?:\.\d+)?|\.\d+)",
    re.ASCII,
)
_CHOICE = re.compile(r"([A-Z])|\(([A-Z])\)")
_CHOICE_WITH_VALUE = re.compile(r"\([A-Z]\)\s{1,4}\S.*")
_CHOICE_IN_TEXT = re.compile(
    r"\b(?:option|choice)\s{1,4}\(?([A-Z])\)?\s{1,4}is\s{1,4}(?:the\s{1,4})?"
    r"(?:correct|right)\b",
    re.IGNORECASE,
)
_CHOICE_AT_END = re.compile(
    r"(?:\(([A-Z])\)|\b(?:is\s{1,4}([A-J])|(?:option|choice)\s{1,4}([A-Z]))\)?)"
    r"[.*$\s]*$"
)
_LETTER_AT_END = re.compile(r"\s([A-Z])[.*$\s]*$")
_MOST_END_CHARS = 64
_MOST_BARE_CHARS = 100
_PROSE = re.compile(
    r"(?<![\\A-Za-z])(?!(?:sin|cos|tan|log|exp|sqrt|and\s+\S)\b)"
    r"(?:[A-Za-z]{3,}|[Ss]o|[Tt]o|is|of|[Ii]n|[Aa]t|or|as|by|we|if|an)(?![A-Za-z])"
)
_QUIET = re.compile(r"\\(?:begin|end|text\w*|math\w+|mbox|operatorname)\s?\{[^{}]*\}")
_OPERATOR = re.compile(r"[\\+*/=<>^-]")
_DELIMITERS = (("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(
    rf"(?P<box>{_BOX.pattern})|\\.|(?P<open>\{{)|(?P<close>\}})", re.DOTALL
)
_ANCHOR = re.compile(
    r"\banswer\b(?:[*_ ]{0,4}:|[^.:\n]{0,60}?\s(?:is|should\sbe)\b)"
    r"|\b(?:correct|right|best)\s{1,4}(?:option|choice)(?:\s{1,4}is\b|:)"
    r"|\bfinal\s{1,4}answer[*_# \t\r]{0,8}\n",  # a heading on a line of its own
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=[\s*_]|$)")
_DISPLAY_MATH = {"$$": "$$", "\\[": "\\]"}


def extract_answer(text: str) -> str | None:
    r"""The final answer that a response gives, as written.

    In this order: the last non-empty `\boxed{...}` whose braces balance; what follows
    the last "answer:", "answer is", "correct option is" or "Final answer" heading, up
    to the end of its sentence or line; a choice: a first or last line that is only its
    letter, one line "(B) 12 cm", "option B is correct", or a last sentence that ends in
    "(B)" or "is B", but not in "A or (B)" or "not B"; all of a short text without words
    and "="; the last number, or the formula that it stands in; a letter at the end.
    Thinking between `<think>` and `</think>` counts only when nothing follows it. Takes
    time linear in the text.

    Args:
      text: the whole response.

    Returns:
      The answer without surrounding blanks, or None: there is none, thinking never
      ends, or it is longer than 4096 characters.
    """
    said = after_thinking(text)
    answer = (
        _last_box(said)
        or _after_anchor(said)
        or _choice(said)
        or _bare_answer(said)
        or _last_value(said)
        or _letter_at_end(_LETTER_AT_END, said)
    )
    if not answer or len(answer) > MAX_ANSWER_CHARS:
        return None
    return answer.replace("\N{MINUS SIGN}", "-")


def after_thinking(text: str) -> str:
    """What a response says after its thinking.

    Args:
      text: the whole response.

    Returns:
      What follows `</think>`; the thinking where nothing does; "" where it never ends.
    """
    thought, _, conclusion = text.rpartition("</think>")
    if "<think>" in conclusion:
        return ""
    return (
        conclusion if conclusion.strip() else thought.lstrip().removeprefix("<think>")
    )


def _last_box(text: str) -> str | None:
    """Contents of the balanced, non-empty box that begins last."""
    first = _BOX.search(text)
    if first is None:
        return None
    begin = end = 0
    open_braces = []  # where the contents of a box begin; 0 for any other brace
    for token in _BRACE.finditer(text, first.start()):
        if token.lastgroup == "box":
            open_braces.append(token.end())
        elif token.lastgroup == "open":
            open_braces.append(0)
        elif token.lastgroup == "close" and open_braces:
            box = open_braces.pop()
            if box > begin and text[box : token.start()].strip():
                begin, end = box, token.start()
    return text[begin:end].strip() or None


def _after_anchor(text: str) -> str | None:
    """What follows the last announcement of an answer."""
    anchors = deque(_ANCHOR.finditer(text), maxlen=1)
    if not anchors:
        return None
    anchor = anchors[0]
    rest = text[anchor.end() : anchor.end() + 2 * MAX_ANSWER_CHARS].lstrip(
        " \t\r\n*_:#`"
    )
    closing = _DISPLAY_MATH.get(rest[:2])
    if closing:
        return rest[2:].partition(closing)[0].strip()
    line = rest.partition("\n")[0]
    return _SENTENCE_END.split(line, maxsplit=1)[0].strip(" \t\r*_`")


def _choice(text: str) -> str | None:
    """A choice that is announced by nothing but its place."""
    text = text.strip()
    for line in (text.partition("\n")[0], text.rpartition("\n")[2]):
        choice = _CHOICE.fullmatch(line.strip(" \t\r*$").removesuffix("."))
        if choice:
            return _matched(choice)
    if _CHOICE_WITH_VALUE.fullmatch(text):
        return text
    named = deque(_CHOICE_IN_TEXT.finditer(text), maxlen=1)
    if named:
        return named[0][1].upper()
    return _letter_at_end(_CHOICE_AT_END, text)


def _letter_at_end(pattern: re.Pattern, text: str) -> str | None:
    """The letter that a text ends in, unless it denies it or offers another too."""
    end = text[-2 * _MOST_END_CHARS :]
    choice = pattern.search(end, max(0, len(end) - _MOST_END_CHARS))
    if choice is None or is_undecided(end[: choice.start(choice.lastindex)]):
        return None
    return _matched(choice)


def _bare_answer(text: str) -> str | None:
    """The text, if it is short and nothing but a value."""
    text = text.strip()
    if len(text) > _MOST_BARE_CHARS or "=" in text or _is_prose(text):
        return None
    return text.rstrip(".,; ") if any(map(str.isdigit, text)) else None


def _last_value(text: str) -> str | None:
    """The last number, or the formula that it stands in or that ends the text."""
    numbers = deque(_NUMBER_IN_TEXT.finditer(text), maxlen=1)
    position = numbers[0].start() if numbers else -1
    formula = _last_formula(text)
    if formula and formula.end > position:
        ends_text = not text[formula.end :].strip("$)]\\. *\r\n")
        if formula.start <= position or (ends_text and _OPERATOR.search(formula.text)):
            return formula.text
    return numbers[0].group() if numbers else None


class _Formula(NamedTuple):
    text: str
    start: int
    end: int


def _last_formula(text: str) -> _Formula | None:
    """What stands between the last delimiters of mathematics."""
    end, opening, closing = max(
        (text.rfind(closing), opening, closing) for opening, closing in _DELIMITERS
    )
    if closing == "$" and text[end - 1 : end] == "$":
        opening, end = "$$", end - 1
    start = text.rfind(opening, 0, end)
    if start < 0:
        return None
    start += len(opening)
    inside = text[start:end] if end - start <= MAX_ANSWER_CHARS else ""
    if opening == "$" and ("\n" in inside or _is_prose(inside)):
        return None  # two amounts of dollars
    inside = inside.strip().rstrip(".,; ")
    return _Formula(inside, start, end) if inside else None


def _is_prose(text: str) -> bool:
    return _PROSE.search(_QUIET.sub("", text)) is not None


def _matched(match: re.Match | None) -> str | None:
    return match[match.lastindex] if match else None
