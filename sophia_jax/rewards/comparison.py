"""Judging the answers that need no algebra: numbers, amounts, letters and words."""

from __future__ import annotations

import re
from fractions import Fraction

from sophia_jax.rewards.amounts import Amount, conversion, read_amount
from sophia_jax.rewards.choices import given_letter, last_letter, read_option
from sophia_jax.rewards.latex import plain, right_side, unwrapped
from sophia_jax.rewards.units import PERCENT

__all__ = ["compare_fast", "compare_simple", "rounding", "same_text"]

MAX_NUMBER_CHARS = 64

# Decimals closer than this may be the same number rounded: left to math-verify.
ROUNDING = Fraction(1, 100_000)

THOUSANDS = r"[1-9]\d{0,2}(?:,\d{3})+(?!\d)"
_THOUSANDS_APART = r"[1-9]\d{0,2}(?: \d{3})+"
_NO_SEPARATORS = str.maketrans("", "", ", ")
_MIXED_NUMBER = re.compile(r"([-+]?)(\d+) (\d+)/(\d+)", re.ASCII)
_NUMBER = re.compile(
    rf"[-+]?(?:(?:{THOUSANDS}|{_THOUSANDS_APART}|\d+)(?:\.\d+)?|\.\d+|\d+/\d+)",
    re.ASCII,
)
_DECIMALS = re.compile(
    rf"[-+]?(?:{THOUSANDS}|{_THOUSANDS_APART}|\d*)\.(\d{{2,}})", re.ASCII
)
_NAME = re.compile(r"[A-Z]+")
_DIGITS_APART = re.compile(r"\d \d")
_TOKEN = re.compile(r"[^\s,]+|,")
_HYPHEN = re.compile(r"(?<=[A-Za-z]{3})-(?=[A-Za-z]{3})")
_PUNCTUATED_WORD = re.compile(r"[\"*]*([^\W\d_][^\W\d_']+)[.!?\"*]*")
_JOINING = re.compile(r"\s(?:and|or)\s|,")
_ARTICLES = frozenset(("a", "an", "the"))
_FUNCTIONS = ("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt")
_CONSTANTS = ("pi", "alpha", "beta", "gamma", "delta", "theta", "phi", "infinity")
_MATHEMATICAL_WORDS = frozenset(
    (*_FUNCTIONS, *_CONSTANTS, *(f"arc{name}" for name in _FUNCTIONS[:6]))
)


def compare_fast(prediction: str, answer: str) -> bool | None:
    """Compare two answers without algebra.

    An answer that is an option, "B" or "(B) 12 cm", is judged by the letter that the
    prediction gives, and by the value where it gives none. Amounts are brought to one
    unit; a unit that one side lacks is taken to be the other's; different quantities
    are unequal. 50% is 0.5, and also 50, but 0.5% is not 0.5. A number that rounds to
    the answer, at the two or more decimals that the answer has, is right: 1/3 for
    0.333, but not 0.333 for 1/3. Words are the same whatever their case, spacing and
    articles, and never a product of letters.

    Args:
      prediction: an extracted answer.
      answer: the right answer.

    Returns:
      Whether they are equal; None where this cannot be decided here.
    """
    if same_text(prediction, answer):
        return True
    option = read_option(answer)
    if option:
        letter = given_letter(prediction, last_letter(option))
        if letter:
            return letter == option.letter
        if option.value is None:
            return None if option.letter in prediction else False
        answer = option.value
        if same_text(prediction, answer):
            return True
    prediction = prediction if "=" in answer else right_side(prediction)
    equal = compare_simple(prediction, answer)
    if equal is None:
        equal = _compare_amounts(read_amount(prediction), read_amount(answer))
    return _compare_words(prediction, answer) if equal is None else equal


def compare_simple(prediction: str, answer: str) -> bool | None:
    """Compare two plain numbers, or two choice letters; without algebra.

    A plain number is an integer, a decimal, a fraction like 3/4 or a mixed number like
    1 3/4, with an optional sign, commas or blanks between thousands, surrounding $ and
    final full stop, of at most 64 characters.
    A choice letter is one of A-J, in parentheses or not, or up to Z where it comes with
    its value in the answer; the prediction may go on to
    repeat the option: "(B) 12 cm".

    Args:
      prediction: an extracted answer.
      answer: the right answer.

    Returns:
      Whether they are equal, or the prediction rounds to the answer's two or more
      decimals; None where this cannot be decided here, which includes unequal decimals
      so close that one may be the other rounded.
    """
    option = read_option(answer)
    if option and option.value is None:
        letter = given_letter(prediction, last_letter(option))
        return letter and letter == option.letter
    return _compare_numbers(_number(plain(prediction)), plain(answer))


def same_text(prediction: str, answer: str) -> bool:
    """Whether two answers read the same.

    Case, spacing, punctuation and articles are ignored between answers of words ("The
    square" and "square"), but not where they may be mathematics.

    Args:
      prediction: an extracted answer.
      answer: the right answer.

    Returns:
      True if they read the same; False says nothing about their meaning.
    """
    given, wanted = plain(prediction), plain(answer)
    if given == wanted:
        return True
    if len(given) > 2 * len(wanted) + 100:  # also by commands for looks
        return False
    given, wanted = unwrapped(given), unwrapped(wanted)
    blanks_separate = _DIGITS_APART.search(given) or _DIGITS_APART.search(wanted)
    if not blanks_separate and given.replace(" ", "") == wanted.replace(" ", "") != "":
        return True
    return _words(given) == _words(wanted) != []


def rounding(answer: str) -> Fraction | None:
    """How far a number may be from an answer that rounds it; None if none may.

    Args:
      answer: the right answer, a number.

    Returns:
      Half a unit in the last of its two or more decimals; None where it has fewer.
    """
    decimals = _DECIMALS.fullmatch(answer)
    return Fraction(1, 2 * 10 ** len(decimals[1])) if decimals else None


def _compare_numbers(given: Fraction | None, answer: str) -> bool | None:
    wanted = _number(answer)
    if wanted is None or given is None:
        return None
    distance = abs(wanted - given)
    if distance <= (rounding(answer) or 0):
        return True
    whole = wanted.denominator == given.denominator == 1
    if whole or distance > ROUNDING * max(1, abs(wanted)):
        return False
    return None


def _compare_amounts(given: Amount, wanted: Amount) -> bool | None:
    """Compare numbers in one unit; unequal at once where the quantities differ."""
    if not given.units and not wanted.units:
        return None
    number = _number(given.number)
    if given.units and wanted.units:
        change = conversion(given, wanted)
        if change is None:
            return False
        if change.pi or number is None:
            return None
        return _compare_numbers(change.scale * number + change.shift, wanted.number)
    if number is None:
        return None
    if PERCENT in given.units:
        readings = [number / 100, *([number] if abs(number) >= 1 else [])]
    elif PERCENT in wanted.units:
        percent = _number(wanted.number) or 0
        readings = [number * 100, *([number] if abs(percent) >= 1 else [])]
    else:
        readings = [number]
    verdicts = [_compare_numbers(reading, wanted.number) for reading in readings]
    return True if True in verdicts else None if None in verdicts else False


def _compare_words(prediction: str, answer: str) -> bool | None:
    """Words that do not read the same are unequal: no product of their letters is."""
    given, wanted = _tokens(unwrapped(prediction)), _tokens(unwrapped(answer))
    for is_kind in (_is_prose, _is_name):
        if is_kind(given) and is_kind(wanted):
            return False
    return None


def _is_prose(tokens: list[str]) -> bool:
    return (
        any(len(token) >= 4 for token in tokens)
        and all(token == "," or token.replace("'", "").isalpha() for token in tokens)
        and _MATHEMATICAL_WORDS.isdisjoint(token.lower() for token in tokens)
    )


def _is_name(tokens: list[str]) -> bool:
    """Whether it is a sequence of capitals, as of points; two may also be a segment."""
    return len(tokens) == 1 and len(tokens[0]) >= 3 and bool(_NAME.fullmatch(tokens[0]))


def _tokens(text: str) -> list[str]:
    """Words without punctuation, and whatever else stands between blanks."""
    return [
        word[1] if (word := _PUNCTUATED_WORD.fullmatch(token)) else token
        for token in _TOKEN.findall(_HYPHEN.sub(" ", text))
    ]


def _words(text: str) -> list[str]:
    """The words of a text, in a form that is equal for equal texts; or none.

    Enumerations with "and" or "or" are put in order. A letter that stands alone may be
    a variable and keeps its case.
    """
    tokens = _tokens(text)
    if not any(len(token) > 1 and token.isalpha() for token in tokens) or not all(
        token == "," or token.replace("'", "").isalnum() for token in tokens
    ):
        return []
    # Case tells MW from mW, and a variable from another.
    shortest = 4 if any(token.isdigit() for token in tokens) else 2
    words = [
        token.casefold() if len(token) >= shortest else token
        for token, following in zip(tokens, [*tokens[1:], ""], strict=True)
        if not _is_article(token, following)
    ]
    joining = [word for word in words if word in ("and", "or")]
    if not joining:
        return words
    items = filter(str.strip, _JOINING.split(" ".join(words)))
    return [*sorted(item.strip() for item in items), *joining]


def _is_article(token: str, following: str) -> bool:
    return (
        token.lower() in _ARTICLES
        and len(following) > 2
        and following.isalpha()
        and following.lower() not in _MATHEMATICAL_WORDS
    )


def _number(text: str) -> Fraction | None:
    if len(text) > MAX_NUMBER_CHARS:
        return None
    mixed = _MIXED_NUMBER.fullmatch(text)
    if mixed:
        part = Fraction(int(mixed[3]), int(mixed[4])) if int(mixed[4]) else 1
        return (int(mixed[2]) + part) * int(f"{mixed[1]}1") if part < 1 else None
    if not _NUMBER.fullmatch(text):
        return None
    numerator, _, denominator = text.translate(_NO_SEPARATORS).partition("/")
    if not denominator:
        return Fraction(numerator)
    return Fraction(int(numerator), int(denominator)) if int(denominator) else None
