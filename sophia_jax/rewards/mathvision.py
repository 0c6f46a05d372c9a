"""The rule by which MATH-Vision judges answers, for figures comparable with others'.

A choice is right when the answer is the letter or the value of the right option, but
not both together; other answers are compared as they read and, once their LaTeX is
evaluated, as numbers rounded to two decimals. Units are not understood.

Reference:
  Wang et al., 2024, "Measuring Multimodal Mathematical Reasoning with the MATH-Vision
  Dataset", https://arxiv.org/abs/2402.14804, and the evaluation published with it.
"""

from __future__ import annotations

import re

from sophia_jax.rewards.choices import read_option

__all__ = ["compare_official", "judge_official"]

_DECIMALS = 2
_MOST_PARTS = 64
_PLAIN_NUMBER = re.compile(r"[-+]?(?:\d{1,15}(?:\.\d{0,15})?|\.\d{1,15})", re.ASCII)
_LAST_SIDE = re.compile(r"=|\\approx(?![a-z])")
_ABSENT = re.compile(
    r"\\(?:left|right|text(?:bf|rm)?|mbox|mathrm|displaystyle)(?![a-z])|\\[,;:!() ]"
    r"|\\?[$%]|\s|~|\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![a-z]))|°"
)
_BRACE = re.compile(r"[{}]")
_NUMERAL = re.compile(r"\d|\\pi(?![a-z])")
_LETTER = re.compile(r"[{(]{0,2}([a-j])[)}]{0,2}")
_TUPLE = re.compile(r"([(\[])(.+,.+)([)\]])")


def compare_official(prediction: str, answer: str) -> bool | None:
    """Compare two answers by MATH-Vision's rule, without algebra.

    Args:
      prediction: an extracted answer.
      answer: the right answer: a letter, "(B) 12 cm", or a value.

    Returns:
      Whether they are equal; None where LaTeX has to be evaluated to know.
    """
    given, targets = _given(prediction), _targets(answer)
    if not given or given in (target.lower().strip() for target in targets):
        return bool(given)
    candidates = [_bare(target) for target in targets if _NUMERAL.search(target)]
    if not candidates or not _NUMERAL.search(given):
        return False
    if all(map(_PLAIN_NUMBER.fullmatch, [given, *candidates])):
        rounded = round(float(given), _DECIMALS)
        return rounded in (round(float(number), _DECIMALS) for number in candidates)
    return None


def judge_official(prediction: str, answer: str) -> str:
    """Compare two answers by MATH-Vision's rule, evaluating their LaTeX.

    Args:
      prediction: an extracted answer.
      answer: the right answer.

    Returns:
      "right" or "wrong".

    Raises:
      MemoryError: the evaluation needs more than this process may have.
    """
    given = _numbers(_given(prediction))
    right = given is not None and any(
        given == _numbers(_bare(target)) for target in _targets(answer)
    )
    return "right" if right else "wrong"


def _targets(answer: str) -> list[str]:
    """What a right answer may be: the letter and the value, or a value."""
    option = read_option(answer)
    if option is None:
        return [answer]
    return [option.letter, *([option.value] if option.value else [])]


def _given(prediction: str) -> str:
    """An extracted answer in the form in which it is compared."""
    text = prediction.lower()[: _surplus_brace(prediction)]
    text = _bare(_LAST_SIDE.split(text)[-1]).strip(".:")
    letter = _LETTER.fullmatch(text)
    return letter[1] if letter else text


def _surplus_brace(text: str) -> int:
    """Where the first brace closes that was never opened; the end if none does."""
    depth = 0
    for brace in _BRACE.finditer(text):
        depth += 1 if brace[0] == "{" else -1
        if depth < 0:
            return brace.start()
    return len(text)


def _bare(text: str) -> str:
    """The text in lower case without blanks, $, %, degrees and commands for looks."""
    return _ABSENT.sub("", text.lower())


def _numbers(text: str) -> tuple[str | float, ...] | None:
    """The rounded numbers of a number, a ratio, or a tuple with its brackets."""
    if ":" in text:
        kind, parts = ":", text.split(":")
    elif _TUPLE.fullmatch(text):
        kind, parts = text[0] + text[-1], text[1:-1].split(",")
    else:
        kind, parts = "", [text]
    if len(parts) > _MOST_PARTS:
        return None
    values = [_value(part) for part in parts]
    return None if None in values else (kind, *values)


def _value(latex: str) -> float | None:
    """The number that a LaTeX expression is, rounded; None where it is none."""
    # Loaded here: only the processes that evaluate need algebra.
    from latex2sympy2_extended import NormalizationConfig, latex2sympy

    plain = NormalizationConfig(malformed_operators=True, boxed="none")
    try:
        expression = latex2sympy(latex, normalization_config=plain).doit()
        number = expression if expression.is_Integer else expression.evalf()
        return round(int(number) if number.is_Integer else float(number), _DECIMALS)
    except Exception as error:  # antlr and sympy raise every kind
        if isinstance(error, MemoryError):
            raise
        return None
