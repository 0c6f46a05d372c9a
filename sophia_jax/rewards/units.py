"""Units: their names, prefixes and powers in terms of base units."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["NUMBER", "PERCENT", "RADIAN", "Unit", "read_unit"]

# Kilogram, metre, second, ampere; money, angle and the like have bases of their own.
_NAMES = {
    "m": "m metre metres meter meters",
    "kg m s-2": "N newton newtons",
    "kg m2 s-2": "J joule joules",
    "kg m2 s-3": "W watt watts",
    "kg m-1 s-2": "Pa pascal pascals",
    "kg m2 s-3 A-1": "V volt volts",
    "kg m2 s-3 A-2": "Ω ohm ohms",
    "s-1": "Hz hertz",
    "A": "A ampere amperes amp amps",
    "A s": "C coulomb coulombs",
    "mol": "mol mole moles",
    "1/1000 kg": "g gm gram grams gramme grammes",
    "1/1000 m3": "L l litre litres liter liters",
    "s": "s sec secs second seconds",
}
_NAMES_WITHOUT_PREFIX = {
    "60 s": "min mins minute minutes",
    "3600 s": "h hr hrs hour hours",
    "86400 s": "day days",
    "604800 s": "week weeks",
    "month": "month months",
    "12 month": "year years yr yrs",
    "127/5000 m": "in inch inches",
    "381/1250 m": "ft foot feet",
    "1143/1250 m": "yd yds yard yards",
    "201168/125 m": "mi mile miles",
    "201168/450000 m s-1": "mph",
    "1000/3600 m s-1": "kph kmph",
    "10000 m2": "ha hectare hectares",
    "1/1000000 m3": "cc",
    "1000 kg": "ton tons tonne tonnes",
    "45359237/100000000 kg": "lb lbs pound pounds",
    "45359237/1600000000 kg": "oz ounce ounces",
    "dollar": "dollar dollars USD",
    "euro": "euro euros Euro Euros EUR €",
    "sterling": "pound pounds GBP £",
    "1/100 dollar": "cent cents",
    "1/100 euro": "cent cents",
    "radian": "rad radian radians",
    "1/180 π radian": "° deg degree degrees",
    "kelvin": "K kelvin °C °F",  # the latter with an offset
    "1/100": "% percent percentage pct",
}
_PREFIXES = {
    "n": Fraction(1, 10**9),
    "µ": Fraction(1, 10**6),
    "μ": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "c": Fraction(1, 100),
    "d": Fraction(1, 10),
    "k": Fraction(1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "nano": Fraction(1, 10**9),
    "micro": Fraction(1, 10**6),
    "milli": Fraction(1, 1000),
    "centi": Fraction(1, 100),
    "deci": Fraction(1, 10),
    "kilo": Fraction(1000),
    "mega": Fraction(10**6),
}
_OFFSETS = {
    "°C": (Fraction(1), Fraction("273.15")),
    "°F": (Fraction(5, 9), Fraction("273.15") - Fraction(160, 9)),
}
_MOST_FACTORS = 4

_FACTOR = re.compile(
    r"\s*(?P<per>/|per\b)?\s*(?:(?:\\cdot\b|\\times\b|[·*×])\s*)?"
    r"(?P<raised>(?:square|sq|cubic|cu)\b\.?\s*)?"
    r"(?P<name>°\s?[CF](?![A-Za-z])|[°%€£]|[A-Za-zµμΩ]+)"
    r"(?P<power>\s?\^\s?\{?\s?-?[1-9]\s?\}?|[²³]|\s+(?:squared|cubed)\b)?\.?"
)
_POWERS = {"²": 2, "³": 3, "squared": 2, "cubed": 3, "square": 2, "sq": 2}


@dataclass(frozen=True)
class Unit:
    """A unit in terms of base units: base = π^pi (factor · amount + offset).

    Attributes:
      dimension: base units and their exponents, in order of their names.
      factor: multiple of the base unit.
      offset: where zero is, for temperatures.
      pi: exponent of π, for angles.
    """

    dimension: tuple[tuple[str, int], ...]
    factor: Fraction
    offset: Fraction = Fraction(0)
    pi: int = 0


@functools.lru_cache(maxsize=1024)
def read_unit(text: str) -> tuple[Unit, ...]:
    """Read a unit: names, prefixes and powers, products and quotients of four at most.

    Args:
      text: what stands behind a number.

    Returns:
      The unit in all its readings ("pound"); none where it is not one.
    """
    text = text.replace("per cent", "percent")
    factors, position = [], 0
    while position < len(text):
        match = _FACTOR.match(text, position)
        if not match or len(factors) == _MOST_FACTORS:
            return ()
        power = _power(match)
        factors.append([_raise(unit, power) for unit in _named(match["name"])])
        position = match.end()
    return tuple(_product(chosen) for chosen in itertools.product(*factors))


def _power(match: re.Match) -> int:
    raised = (match["raised"] or "").strip(" .")
    power = _POWERS.get(raised, 3 if raised else 1)
    written = (match["power"] or "").strip(" ^{}")
    if written:
        power *= _POWERS.get(written) or int(written)
    return -power if match["per"] else power


def _raise(unit: Unit, power: int) -> Unit:
    if power == 1:
        return unit
    dimension = tuple((base, power * exponent) for base, exponent in unit.dimension)
    return Unit(dimension, unit.factor**power, pi=power * unit.pi)


def _product(units: tuple[Unit, ...]) -> Unit:
    if len(units) == 1:
        return units[0]
    exponents: Counter[str] = Counter()
    factor, pi = Fraction(1), 0
    for unit in units:
        for base, exponent in unit.dimension:
            exponents[base] += exponent
        factor, pi = factor * unit.factor, pi + unit.pi
    return Unit(
        tuple(sorted(item for item in exponents.items() if item[1])), factor, pi=pi
    )


def _named(name: str) -> tuple[Unit, ...]:
    """The units of a name, with or without a prefix."""
    name = "".join(name.split())
    for spelling in (name, name.lower()) if len(name) > 1 else (name,):
        if spelling in _UNITS:
            return _UNITS[spelling]
        for prefix, factor in _PREFIXES.items():
            base = spelling.removeprefix(prefix)
            if (
                base != spelling
                and base in _PREFIXABLE
                and (len(base) > 2) == (len(prefix) > 1)
            ):
                return tuple(
                    Unit(unit.dimension, factor * unit.factor) for unit in _UNITS[base]
                )
    return ()


def _defined(definition: str, name: str) -> Unit:
    """A unit from its line in the tables."""
    first, *rest = definition.split()
    factor = Fraction(first) if first[0].isdigit() else Fraction(1)
    bases = rest if first[0].isdigit() else [first, *rest]
    powers = (
        re.fullmatch(r"([A-Za-z]+)(-?\d)?", base) for base in bases if base != "π"
    )
    dimension = sorted((power[1], int(power[2] or 1)) for power in powers)
    scale, offset = _OFFSETS.get(name, (Fraction(1), Fraction(0)))
    return Unit(tuple(dimension), factor * scale, offset, pi=bases.count("π"))


def _all_units() -> dict[str, tuple[Unit, ...]]:
    units = defaultdict(tuple)
    for table in (_NAMES, _NAMES_WITHOUT_PREFIX):
        for definition, names in table.items():
            for name in names.split():
                units[name] += (_defined(definition, name),)
    return dict(units)


_UNITS = _all_units()
_PREFIXABLE = frozenset(" ".join(_NAMES.values()).split())
NUMBER = Unit((), Fraction(1))
PERCENT = _UNITS["%"][0]
RADIAN = _UNITS["rad"][0]
