"""JSON objects of Hugging Face folders, whose fields are checked as they are read."""

from __future__ import annotations

import math
from typing import Any

from sophia_jax.types import InputError

__all__ = ["Fields"]


class Fields:
    """A JSON object; each method below reads one field or raises an InputError.

    Args:
      fields: the object.
      where: the file's name, for messages.
      prefix: of the fields' names in messages.
    """

    def __init__(self, fields: dict, where: str, prefix: str = ""):
        self.fields = fields
        self.where = where
        self.prefix = prefix

    def error(self, name: str, rule: str) -> InputError:
        """What to raise when a field breaks a rule."""
        got = repr(self.fields[name]) if name in self.fields else "nothing"
        return InputError(
            f"{self.where}: {self.prefix}{name}: expected {rule}, got {got}"
        )

    def section(self, name: str) -> Fields:
        """An object within this one."""
        if not isinstance(self.fields.get(name), dict):
            raise self.error(name, "an object")
        return Fields(self.fields[name], self.where, f"{self.prefix}{name}.")

    def integer(self, name: str) -> int:
        """A whole number >= 0."""
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(name, "a whole number >= 0")
        return value

    def number(self, name: str) -> float:
        """A number > 0."""
        value = self.fields.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 < value < math.inf:
            raise self.error(name, "a number > 0")
        return float(value)

    def inverse(self, name: str) -> int:
        """1 over a number that is 1 over a whole number."""
        number = self.number(name)
        whole = max(1, round(1 / number))
        if abs(number * whole - 1) > 1e-6:
            raise self.error(name, "1 over a whole number")
        return whole

    def flag(self, name: str, default: bool) -> bool:
        """True or false; an absent field has the default, that of transformers."""
        value = self.fields.get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, "true or false")
        return value

    def side(self, name: str) -> int:
        """The side of a square: one number, or two that are equal."""
        value = self.fields.get(name)
        if isinstance(value, dict):
            value = [value.get("height"), value.get("width")]
        sides = value if isinstance(value, list) else [value, value]
        whole = all(type(side) is int and side > 0 for side in sides)
        if not whole or len(sides) != 2 or sides[0] != sides[1]:
            raise self.error(name, "a square of whole pixels")
        return sides[0]

    def triple(self, name: str) -> tuple[float, float, float]:
        """One number per colour channel."""
        value = self.fields.get(name)
        numbers = value if isinstance(value, list) else []
        if [type(number) in (int, float) for number in numbers] != [True] * 3:
            raise self.error(name, "three numbers, one per colour channel")
        return tuple(map(float, numbers))

    def only(self, name: str, *allowed: Any, default: Any = None) -> Any:
        """A field that must have one of the values that are implemented.

        An absent field has the default, which is that of transformers.
        """
        value = self.fields.get(name, default)
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise self.error(name, " or ".join(map(repr, allowed)))
        return value
