"""Finding the answer in a response, and judging the answers that need no algebra."""

from __future__ import annotations

import re
from collections import deque
from fractions import Fraction

__all__ = ["compare_simple", "extract_answer", "same_text"]

# No answer is longer; what is longer is a derivation, a loop or an attack.
MAX_ANSWER_CHARS = 4096
MAX_NUMBER_CHARS = 64

# Decimals closer than this may be the same number rounded: left to math-verify.
ROUNDING = Fraction(1, 100_000)

_THOUSANDS = r"[1-9]\d{0,2}(?:,\d{3})+(?!\d)"
_NUMBER = re.compile(
    rf"[-+]?(?:(?:{_THOUSANDS}|\d+)(?:\.\d+)?|\.\d+|\d+/\d+)", re.ASCII
)
_NUMBER_IN_TEXT = re.compile(
    r"(?<![\w.])(?:(?<![)\]}])[-+\u2212])?"  # in 5-4 and (5)-4 the dash is no sign
    rf"(?:\d+/\d+|(?:{_THOUSANDS}|\d+)(?:\.\d+)?|\.\d+)",
    re.ASCII,
)
_CHOICE = re.compile(r"([A-J])|\(([A-J])\)")
_LABELLED_CHOICE = re.compile(r"\(?([A-J])[).:]\s+\S")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|boldsymbol)\{")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(
    rf"(?P<box>{_BOX.pattern})|\\.|(?P<open>\{{)|(?P<close>\}})", re.DOTALL
)
_ANCHOR = re.compile(
    r"\banswer\b(?:[*_ ]{0,4}:|[^.:\n]{0,60}?\sis\b)"  # "answer:", "answer to it is"
    r"|\bfinal\s{1,4}answer[*_# \t\r]{0,8}\n",  # a heading on a line of its own
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=[\s*_]|$)")
_DISPLAY_MATH = {"$$": "$$", "\\[": "\\]"}


def extract_answer(text: str) -> str | None:
    r"""The final answer that a response gives, as written.

    In this order: the last non-empty `\boxed{...}` whose braces balance; what follows
    the last "answer:", "answer is" or "Final answer" heading, up to the end of its
    sentence or line; a first or last line that is only a choice letter; the last
    number. Thinking between `<think>` and `</think>` counts only when nothing follows
    it. Takes time linear in the text.

    Args:
      text: the whole response.

    Returns:
      The answer without surrounding blanks, or None: there is none, thinking never
      ends, or it is longer than 4096 characters.
    """
    thought, _, conclusion = text.rpartition("</think>")
    if "<think>" in conclusion:
        return None
    said = conclusion if conclusion.strip() else thought
    answer = (
        _last_box(said)
        or _after_anchor(said)
        or _lone_choice(said)
        or _last_number(said)
    )
    if not answer or len(answer) > MAX_ANSWER_CHARS:
        return None
    return answer.replace("\N{MINUS SIGN}", "-")


def compare_simple(prediction: str, answer: str) -> bool | None:
    """Compare two plain numbers, or two choice letters; exact and without algebra.

    A plain number is an integer, a decimal or a fraction like 3/4, with an optional
    sign, thousands commas, surrounding $ and final full stop, of at most 64 characters.
    A choice letter is one of A-J, in parentheses or not; the prediction may go on to
    repeat the option: "(B) 12 cm".

    Args:
      prediction: an extracted answer.
      answer: the right answer.

    Returns:
      Whether they are equal; None where this cannot be decided here, which includes
      unequal decimals so close that one may be the other rounded.
    """
    wanted, given = _plain(answer), _plain(prediction)
    wanted_letter = _CHOICE.fullmatch(wanted)
    if wanted_letter:
        given_letter = _CHOICE.fullmatch(given) or _LABELLED_CHOICE.match(given)
        return given_letter and _letter(given_letter) == _letter(wanted_letter)
    wanted_number, given_number = _number(wanted), _number(given)
    if wanted_number is None or given_number is None:
        return None
    distance = abs(wanted_number - given_number)
    whole = wanted_number.denominator == given_number.denominator == 1
    if not distance or whole or distance > ROUNDING * max(1, abs(wanted_number)):
        return not distance
    return None


def same_text(prediction: str, answer: str) -> bool:
    """Whether two answers read the same.

    Case and spacing are ignored between answers of words ("Yes" and "yes"), but not
    where a letter may be a variable.

    Args:
      prediction: an extracted answer.
      answer: the right answer.

    Returns:
      True if they read the same; False says nothing about their meaning.
    """
    given, wanted = _plain(prediction), _plain(answer)
    if all(len(word) > 1 and word.isalpha() for word in wanted.split()):
        return given.casefold().split() == wanted.casefold().split()
    return given == wanted


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


def _lone_choice(text: str) -> str | None:
    """A first or last line that is a choice letter and nothing else."""
    text = text.strip()
    for line in (text.partition("\n")[0], text.rpartition("\n")[2]):
        choice = _CHOICE.fullmatch(line.strip(" \t\r*").removesuffix("."))
        if choice:
            return _letter(choice)
    return None


def _last_number(text: str) -> str | None:
    numbers = deque(_NUMBER_IN_TEXT.finditer(text), maxlen=1)
    return numbers[0].group() if numbers else None


def _plain(text: str) -> str:
    """The text without what surrounds it: blanks, $, a text command, a full stop."""
    text = text.strip().removesuffix(".").strip("$ \t\r\n")
    command = _TEXT_COMMAND.match(text)
    if command and text.find("}") == len(text) - 1:
        text = text[command.end() : -1].strip()
    return text.removesuffix(".")


def _letter(match: re.Match) -> str:
    return match[match.lastindex]


def _number(text: str) -> Fraction | None:
    if len(text) > MAX_NUMBER_CHARS or not _NUMBER.fullmatch(text):
        return None
    numerator, _, denominator = text.replace(",", "").partition("/")
    if not denominator:
        return Fraction(numerator)
    return Fraction(int(numerator), int(denominator)) if int(denominator) else None
