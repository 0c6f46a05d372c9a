"""Questions about a few numbers, their answers, and answers worked out digit by digit.

Text alone: the pictures of the same numbers are made in `data.digits`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "KINDS",
    "Kind",
    "caption",
    "contains_held_out",
    "draw_numbers",
    "is_held_out",
    "perception",
    "solution",
]

HELD_OUT_SHARE = 5  # one in this many sets of numbers is held out
ROWS = ("first", "second", "third")

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """One sort of question.

    Attributes:
      question: as it is asked.
      counts: how many numbers the picture may hold.
      answer: of the numbers, in the order of the rows.
      steps: the calculation, line by line, with the ones checked by the inverse
        operation, or (long check) the ones and the tens.
    """

    question: str
    counts: tuple[int, ...]
    answer: Callable[[Numbers], int]
    steps: Callable[[Numbers, bool], list[str]]


def is_held_out(numbers: Numbers) -> bool:
    """Whether a set of numbers, in any order, belongs to the held-out questions."""
    name = ",".join(str(number) for number in sorted(numbers))
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_SHARE == 0


def contains_held_out(numbers: Numbers) -> bool:
    """Whether the numbers, or two of them, are held out: not to be trained on."""
    return any(
        is_held_out(subset)
        for size in range(2, len(numbers) + 1)
        for subset in itertools.combinations(numbers, size)
    )


def draw_numbers(rng: np.random.Generator, count: int, *, held_out: bool) -> Numbers:
    """Two numbers of up to three digits or three of up to two, held out or not at all."""
    digit_shares = {2: (0.2, 0.4, 0.4), 3: (0.3, 0.7)}[count]
    while True:
        digits = 1 + rng.choice(len(digit_shares), size=count, p=digit_shares)
        numbers = tuple(int(rng.integers(10 ** (d - 1), 10**d)) for d in digits)
        if (is_held_out if held_out else contains_held_out)(numbers) == held_out:
            return numbers


def caption(numbers: Numbers) -> str:
    """What stands in the picture, row by row."""
    return "\n".join(map(str, numbers))


def perception(rng: np.random.Generator, numbers: Numbers) -> tuple[str, str]:
    """A question that needs eyes and no calculation, and its answer."""
    row = int(rng.integers(len(numbers)))
    digits = str(numbers[row])
    place = int(rng.integers(len(digits)))
    last = digits[-1]
    return (
        (f"Which digit stands {ROWS[place]} in the {ROWS[row]} row?", digits[place]),
        (f"Which digit stands last in the {ROWS[row]} row?", last),
        (f"Which number stands in the {ROWS[row]} row?", digits),
        (f"How many digits does the {ROWS[row]} row have?", str(len(digits))),
        ("How many numbers are there?", str(len(numbers))),
        ("Which number is the largest?", str(max(numbers))),
    )[rng.choice(6, p=(0.3, 0.15, 0.25, 0.05, 0.05, 0.2))]


def solution(kind: Kind, numbers: Numbers, *, long_check: bool) -> str:
    """The answer, thought out digit by digit, checked and boxed."""
    steps = "\n".join(kind.steps(numbers, long_check))
    return f"<think>{steps}</think>\\boxed{{{kind.answer(numbers)}}}"


def add_digits(a: int, b: int, places: int) -> list[str]:
    """a + b, from the ones up: digit + digit + carry = two digits, one line a place."""
    lines, carry = [], 0
    for place in range(places):
        x, y = digit(a, place), digit(b, place)
        total = x + y + carry
        lines.append(f"{x}+{y}+{carry}={total:02}" if place else f"{x}+{y}={total:02}")
        carry = total // 10
    return lines


def subtract_digits(a: int, b: int, places: int) -> list[str]:
    """a - b with a >= b, from the ones up: ten or none + digit - digit - borrow."""
    lines, borrow = [], 0
    for place in range(places):
        x, y = digit(a, place), digit(b, place)
        lent = 10 * (x < y + borrow)
        rest = x + lent - y - borrow
        from_ = f"{x + lent:02}-{y}"
        lines.append(f"{from_}-{borrow}={rest}" if place else f"{from_}={rest}")
        borrow = lent // 10
    return lines


def running_sum(digits: list[int]) -> list[str]:
    """d1 + d2 = s, s + d3 = ..., one line an addition."""
    totals = itertools.accumulate(digits)
    return [
        f"{total:02}+{digit}={total + digit:02}"
        for total, digit in zip(totals, digits[1:], strict=False)
    ]


def last_digits_product(a: int, b: int) -> list[str]:
    """The last two digits of a b: ones, two cross products, and their tens."""
    a1, a0, b1, b0 = digit(a, 1), digit(a, 0), digit(b, 1), digit(b, 0)
    tens = [a0 * b0 // 10, a1 * b0 % 10, a0 * b1 % 10]
    return [
        f"{a0}*{b0}={a0 * b0:02}",
        f"{a1}*{b0}={a1 * b0:02}",
        f"{a0}*{b1}={a0 * b1:02}",
        "+".join(map(str, tens)) + f"={sum(tens):02}",
    ]


def digit(number: int, place: int) -> int:
    return number // 10**place % 10


def all_digits(numbers: Numbers) -> list[int]:
    return [int(character) for number in numbers for character in str(number)]


def check(lines: list[str]) -> list[str]:
    return [f"check {lines[0]}", *lines[1:]]


def sum_steps(numbers: Numbers, long_check: bool) -> list[str]:
    a, b = numbers
    return [
        f"{a:03}+{b:03}",
        *add_digits(a, b, 3),
        f"={a + b:04}",
        *check(subtract_digits(a + b, b, 1 + long_check)),
    ]


def difference_steps(numbers: Numbers, long_check: bool) -> list[str]:
    a, b = max(numbers), min(numbers)
    return [
        f"{a:03}-{b:03}",
        *subtract_digits(a, b, 3),
        f"={a - b:03}",
        *check(add_digits(a - b, b, 1 + long_check)),
    ]


def digit_sum_steps(numbers: Numbers, long_check: bool) -> list[str]:
    digits = all_digits(numbers)
    lines, total, last = running_sum(digits), sum(digits), digits[-1]
    left, before = total - last, digits[-2]
    back = [f"{total:02}-{last}={left:02}", f"{left:02}-{before}={left - before:02}"]
    return [*lines, f"={total:02}", *check(back[: 1 + long_check])]


def product_steps(numbers: Numbers, long_check: bool) -> list[str]:
    a, b = (number % 100 for number in numbers)
    return [
        f"{a:02}*{b:02}",
        *last_digits_product(a, b),
        f"={a * b % 100:02}",
        *check(last_digits_product(b, a)[: 1 + long_check]),
    ]


def two_step_steps(numbers: Numbers, long_check: bool) -> list[str]:
    a, b, c = numbers
    return [
        f"{a:02}+{b:02}-{c:02}",
        *add_digits(a, b, 2),
        f"={a + b:03}-{c:03}",
        *subtract_digits(a + b, c, 3),
        f"={a + b - c:03}",
        *check(add_digits(a + b - c, c, 1 + long_check)),
    ]


KINDS: dict[str, Kind] = {
    "sum": Kind("What is the sum of the numbers?", (2,), sum, sum_steps),
    "difference": Kind(
        "What is the larger number minus the smaller one?",
        (2,),
        lambda numbers: max(numbers) - min(numbers),
        difference_steps,
    ),
    "digit_sum": Kind(
        "What is the sum of all digits?",
        (2, 3),
        lambda numbers: sum(all_digits(numbers)),
        digit_sum_steps,
    ),
    "product": Kind(
        "What are the last two digits of the product?",
        (2,),
        lambda numbers: numbers[0] * numbers[1] % 100,
        product_steps,
    ),
    "two_step": Kind(
        "What is the first number plus the second minus the third?",
        (3,),
        lambda numbers: numbers[0] + numbers[1] - numbers[2],
        two_step_steps,
    ),
}
