"""The process in which math-verify judges answers; its parent bounds time and memory.

Run as `python -m sophia_jax.rewards.verify_worker SOCKET MEMORY_BYTES RULE`. Nothing
here may import jax: a worker starts many times, beside an accelerator that is in use.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import re
import resource
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

import sympy
from math_verify import parse, verify
from math_verify.errors import TimeoutException
from math_verify.utils import timeout

from sophia_jax.rewards.amounts import Amount, Conversion, conversion, read_amount
from sophia_jax.rewards.choices import read_option
from sophia_jax.rewards.comparison import rounding
from sophia_jax.rewards.latex import plain, right_side, unwrapped
from sophia_jax.rewards.mathvision import judge_official
from sophia_jax.rewards.rules import RuleName
from sophia_jax.rewards.units import NUMBER, PERCENT, RADIAN

__all__ = ["JUDGES", "judge", "serve"]

# Whole seconds, as the alarms of math-verify are; two parses and a comparison fit in
# the parent's default deadline.
ALARM_SECONDS = 2

_PI = re.compile(r"\\pi\b|\bpi\b|π")
_DELIMITED_MATH = re.compile(r"\\\(|\\\[|(?<!\\)\$[^$]+(?<!\\)\$|\\boxed")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+", re.ASCII)
_SCIENTIFIC = re.compile(r"([-+]?\d+(?:\.\d+)?)[eE]\+?(-?\d{1,3})", re.ASCII)
_PUNCTUATION_INSIDE = re.compile(r"[.,;]\s{0,4}(\$|\\\)|\\\])")
# Math-verify would strip these from the end, as units or with the brace that follows.
_COEFFICIENT = re.compile(r"-?\d+[cdot]")
_UPRIGHT_CONSTANT = re.compile(r"\\(?:mathrm|text|rm)\s?\{\s?([ei])\s?\}")
# Math-verify takes degrees for radians and knows one sign for the empty set.
_DEGREES_WITHIN = re.compile(
    r"\\(sin|cos|tan|cot|sec|csc)\s{0,4}(?:\\left\s?)?(\(|\{)?\s{0,4}(-?\d+(?:\.\d+)?)\s?"
    r"(?:\^\s?(?:\{\s?\\circ\s?\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])|°)\s?"
    r"(?(2)(?:\\right\s?)?[)}])",
    re.ASCII,
)
_EMPTY_SET = re.compile(r"\\varnothing(?![A-Za-z])|∅")
_AMOUNT = re.compile(r"[-+]?[$€£¥]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?%?", re.ASCII)
# Two amounts with units, which math-verify would take for the first or the last; and
# what says that a number is a bound of the answer, or not it at all.
_TWO_AMOUNTS = re.compile(
    r"\d\)?\s?[^\W\d_°%][^\d,;]{0,20}?(?:[,;]|\b(?:or|and)\b)\s*(?:(?:or|and)\s)?"
    r"[-+]?[$€£]?\.?\d"
)
_BOUND = r"(?:less|more|fewer|least|most|below|above|under|over)(?![A-Za-z])"
_HEDGE = re.compile(
    rf"\A\D*(?:(?<![\\A-Za-z])(?:(?:not|never|cannot)(?![A-Za-z])|no\s|{_BOUND})"
    rf"|n['\u2019]t\s)\D*\d|\b(?:or|and|at)\s{_BOUND}",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r",(?!\d{3}(?!\d))|;|\b(?:and|or)\b|\\(?:cup|pm)(?![A-Za-z])")
_DENIAL_OR_BOUND = re.compile(
    rf"(?<![\\A-Za-z])(?:(?:not|never|cannot)(?![A-Za-z])|{_BOUND})", re.IGNORECASE
)
_WORD = re.compile(
    r"(?!(?:a?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|exp|sqrt|pi|or|and)\b)"
    r"[A-Za-z][a-z]+[.,]?"
)


def judge(prediction: str, answer: str) -> str:
    """Compare two answers by algebra, under math-verify's alarms.

    Amounts are brought to one unit first. Numbers that round to the answer's decimals
    are right.

    Args:
      prediction: an extracted answer, which gives no choice letter.
      answer: the right answer.

    Returns:
      "right", "wrong", or "undecided" where an alarm rang before an equality was found.

    Raises:
      MemoryError: the comparison needs more than this process may have.
    """
    option = read_option(answer)
    answer = (option and option.value) or answer
    prediction = prediction if "=" in answer else right_side(prediction)
    given, wanted = read_amount(prediction), read_amount(answer)
    if _is_hedged(given, prediction) and not (
        (_is_hedged(wanted, answer) or _SEVERAL.search(answer))
        and _bounds(prediction) == _bounds(answer)
    ):
        return "wrong"
    if not (given.units and wanted.units):
        verdict = _compare(prediction, answer)
        if verdict != "wrong" or not (given.units or wanted.units):
            return verdict
        given, wanted = _with_tacit_unit(given, wanted), _with_tacit_unit(wanted, given)
        if not (given.units and wanted.units):
            return _compare(given.number, wanted.number)
    change = conversion(given, wanted)
    if change is None:
        return "wrong"
    return _compare(_converted(given.number, change), wanted.number)


def _judge_official(prediction: str, answer: str) -> str:
    """MATH-Vision's rule, under an alarm."""
    try:
        return timeout(ALARM_SECONDS)(judge_official)(prediction, answer)
    except TimeoutException:
        return "undecided"


JUDGES: dict[RuleName, Callable[[str, str], str]] = {
    "math": judge,
    "mathvision": _judge_official,
}


def serve(judge: Callable[[str, str], str]) -> None:
    """Answer (prediction, answer) pairs over the socket until the parent hangs up.

    Args:
      judge: returns "right", "wrong" or "undecided"; a MemoryError becomes "memory".
    """
    connection, memory_bytes = Connection(int(sys.argv[1])), int(sys.argv[2])
    if sys.platform == "linux":  # elsewhere the system does not keep to this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()  # every alarm would be logged; the parent counts them
    peak_at_rest = _peak_bytes()
    if peak_at_rest >= memory_bytes:
        sys.exit(f"memory_bytes: expected > {peak_at_rest}, got {memory_bytes}")
    peak_allowed = (peak_at_rest + memory_bytes) / 2
    connection.send_bytes(b"ready")
    while True:
        try:
            prediction, answer = json.loads(connection.recv_bytes())
        except EOFError:
            return
        peak_before = _peak_bytes()
        try:
            verdict = judge(prediction, answer)
        except MemoryError:
            verdict = "memory"
        # Math-verify takes a failed allocation inside sympy for an inequality.
        if verdict == "wrong" and _peak_bytes() > max(peak_before, peak_allowed):
            verdict = "memory"
        connection.send_bytes(verdict.encode())


def _peak_bytes() -> int:
    """Most address space this process ever had; 0 where the limit does not hold."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmPeak:"))
    return int(peak.split()[1]) * 1024


def _is_hedged(amount: Amount, text: str) -> bool:
    """Whether an answer leaves open which number it is, or says which it is not."""
    text = unwrapped(text)
    return bool(_HEDGE.search(text) or (not amount.units and _TWO_AMOUNTS.search(text)))


def _bounds(text: str) -> list[str]:
    """The words that deny or bound, in which two hedged answers must agree."""
    return [word.lower() for word in _DENIAL_OR_BOUND.findall(unwrapped(text))]


def _with_tacit_unit(amount: Amount, other: Amount) -> Amount:
    """The amount as a pure number beside a percentage, with π in radians."""
    if amount.units:
        return amount
    if PERCENT in other.units:
        return Amount(amount.number, (NUMBER,))
    if _PI.search(amount.number) and any(unit.pi for unit in other.units):
        return Amount(amount.number, (RADIAN,))
    return amount


def _converted(number: str, change: Conversion) -> str:
    """LaTeX for the number in another unit."""
    if change == Conversion():
        return number
    scale, shift = (
        rf"\frac{{{x.numerator}}}{{{x.denominator}}}"
        for x in (change.scale, change.shift)
    )
    number = number.replace("$", "")
    return rf"\left({number}\right) \cdot {scale} \cdot \pi^{{{change.pi}}} + {shift}"


def _compare(prediction: str, answer: str) -> str:
    try:
        wanted, given = _parse_answer(answer), _parse(prediction)
    except TimeoutException:
        return "undecided"
    verdict = "wrong"
    tests = [
        *(
            functools.partial(_equal, *pair)
            for pair in itertools.product(wanted, given)
        ),
        *(functools.partial(_rounds, value, plain(answer)) for value in given),
    ]
    for test in tests:
        try:
            if test():
                return "right"
        except TimeoutException:
            verdict = "undecided"
        except Exception as error:  # sympy raises every kind; then it is not equal
            if isinstance(error, MemoryError):
                raise
    return verdict


def _equal(wanted, given) -> bool:
    return verify(
        wanted,
        given,
        allow_set_relation_comp=True,  # x > 3 for (3, oo), not only the reverse
        timeout_seconds=ALARM_SECONDS,
        raise_on_error=True,
    )


def _rounds(value, answer: str) -> bool:
    """Whether a number, as math-verify read it, rounds to the answer."""
    distance = rounding(answer)
    if distance is None or not isinstance(value, sympy.Basic):
        return False
    value = value.rhs if isinstance(value, sympy.Eq) else value
    number = timeout(ALARM_SECONDS)(_float)(value)
    return abs(number - float(answer.replace(",", ""))) <= float(distance) * (1 + 1e-9)


def _float(value: sympy.Basic) -> float:
    return float(value.doit().evalf())


def _parse(text: str) -> list:
    """What math-verify reads in an answer; nothing where it fails."""
    readings = [_delimited(text)]
    if _DECIMAL_COMMA.fullmatch(text):  # else a set of two numbers
        readings.append(text)
    try:
        return [
            value
            for reading in readings
            for value in parse(
                reading, parsing_timeout=ALARM_SECONDS, raise_on_error=True
            )
        ]
    except Exception as error:  # antlr and sympy raise every kind
        if isinstance(error, MemoryError):
            raise
        return []


# The many reasonings of one question share its answer.
_parse_answer = functools.lru_cache(maxsize=256)(_parse)


def _delimited(text: str) -> str:
    """The answer between dollars, unless it has delimiters; an amount without its unit.

    Only an amount among plain words is cut out ("12 apples"): everything else might be
    a formula, and part of a formula might equal the right answer by accident.
    """
    text = _UPRIGHT_CONSTANT.sub(r" \1", text)
    text = _DEGREES_WITHIN.sub(r"\\\1\\left(\\frac{\3 \\pi}{180}\\right)", text)
    text = _EMPTY_SET.sub(r"\\emptyset ", text)
    if _DELIMITED_MATH.search(text):
        return _PUNCTUATION_INSIDE.sub(r"\1", text)
    text = text.strip().removesuffix(".")
    scientific = _SCIENTIFIC.fullmatch(text)
    if scientific:
        return rf"${scientific[1]} \cdot 10^{{{scientific[2]}}}$"
    if _COEFFICIENT.fullmatch(text):
        return f"$({text})$"
    words = text.split()
    amounts = [word for word in words if _AMOUNT.fullmatch(word)]
    others = [word for word in words if not _AMOUNT.fullmatch(word)]
    if len(amounts) == 1 and all(_WORD.fullmatch(word) for word in others):
        return f"${amounts[0]}$"
    return f"${text}$"


if __name__ == "__main__":
    serve(JUDGES[sys.argv[3]])
