"""Amounts: splitting a number from its unit, and bringing it to another unit."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction

from sophia_jax.rewards.latex import unwrapped
from sophia_jax.rewards.units import Unit, read_unit

__all__ = ["Amount", "Conversion", "conversion", "read_amount"]

_MOST_UNIT_CHARS = 60

_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?([A-Za-z°]{1,12})\.?", re.ASCII)
_PARTS = re.compile(rf"{_PART.pattern}(?:(?:,| and|, and)?\s?{_PART.pattern}){{1,3}}")
_MONEY_IN_FRONT = re.compile(r"(\\\$|\\textdollar\b|\$|€|£)\s{0,4}(?=[\d.])")
_MONEY = {"€": "EUR", "£": "GBP"}
_HEDGE = re.compile(
    r"(?:about|approximately|approx\.?|around|roughly|\\approx|≈)\s{0,4}",
    re.IGNORECASE,
)
_NUMERAL = re.compile(r"\d|\\pi\b|π")
_OHM = re.compile(r"(?:(?<=[\d\s])([kM])\s?)?\\Omega(?![A-Za-z])")
_MICRO = re.compile(r"\s?\\mu\s?(?=[A-Za-zΩ]{1,3}$)")  # else a coefficient of friction
_ARGUMENT = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)\s?\{?\s?-?[\d.]+\s?\}?")
_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")  # of a variable, not of a command


@dataclass(frozen=True)
class Amount:
    """A number and what it counts.

    Attributes:
      number: the number as written, without the unit.
      units: the unit, in all its readings ("pound"); empty where there is none.
    """

    number: str
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Conversion:
    """From one unit to another: x ↦ π^pi (scale · x + shift)."""

    scale: Fraction = Fraction(1)
    shift: Fraction = Fraction(0)
    pi: int = 0


def read_amount(text: str) -> Amount:
    r"""Split an answer into a number and its unit.

    A unit stands at the end ("12 cm", `12\mathrm{~cm}^2`, "60 km/h", "30°", "5 square
    metres", `50\%`), or in front where it is money. One letter is a unit only after a
    blank or in a text command: "5m" may be algebra.

    Args:
      text: an answer.

    Returns:
      The number with its units; all of the text, without units, where none is found.
    """
    money = _MONEY_IN_FRONT.match(text.lstrip())
    if money and (len(money[1]) > 1 or "$" not in text.lstrip()[1:]):
        number = unwrapped(text.lstrip()[money.end() :])
        return _amount(number, _MONEY.get(money[1], "dollar")) or Amount(text, ())
    clean = _MICRO.sub(" μ", _OHM.sub(r"\1Ω", unwrapped(text)))
    for start in range(max(1, len(clean) - _MOST_UNIT_CHARS), len(clean)):
        before, unit = clean[start - 1], clean[start:]
        if not (before.isspace() or before in ")]}" or before.isdigit()):
            continue
        if unit.isascii() and len(unit) == 1 and unit.isalpha() and before != " ":
            continue
        amount = _amount(clean[:start], unit)
        if amount:
            return amount
    return _sum(clean) or Amount(text, ())


def conversion(given: Amount, wanted: Amount) -> Conversion | None:
    """How to bring an amount to the unit of another.

    Args:
      given: an amount with a unit.
      wanted: an amount with a unit.

    Returns:
      The conversion; None where the two measure different quantities.
    """
    for unit, target in itertools.product(given.units, wanted.units):
        if unit.dimension == target.dimension:
            return Conversion(
                unit.factor / target.factor,
                (unit.offset - target.offset) / target.factor,
                unit.pi - target.pi,
            )
    return None


def _amount(number: str, unit: str) -> Amount | None:
    """An amount, if the one is a number and the other a unit."""
    number = number.strip()
    number = _HEDGE.sub("", number, count=1) if _HEDGE.match(number) else number
    if not _NUMERAL.search(number) or _LETTER.search(number):
        return None
    if unit.startswith("°") and _ARGUMENT.search(number):
        return None  # the degrees are those of an angle within
    units = read_unit(unit)
    return Amount(number, units) if units else None


def _sum(text: str) -> Amount | None:
    """An amount in several units of one quantity: "2 hours and 30 minutes"."""
    if len(text) > _MOST_UNIT_CHARS or not _PARTS.fullmatch(text):
        return None
    parts = [Amount(part[1], read_unit(part[2])) for part in _PART.finditer(text)]
    changes = [conversion(part, parts[0]) for part in parts]
    if any(change is None or change.shift or change.pi for change in changes):
        return None
    total = sum(
        change.scale * Fraction(part.number)
        for change, part in zip(changes, parts, strict=True)
    )
    return Amount(str(total), parts[0].units)
