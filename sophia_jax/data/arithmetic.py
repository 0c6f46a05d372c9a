"""Questions about a few numbers, their answers, and answers worked out digit by digit.

Text alone: the pictures of the same numbers are made in `data.digits`.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "KINDS",
    "SHAPES",
    "Kind",
    "caption",
    "contains_held_out",
    "draw_numbers",
    "draw_shape",
    "fact",
    "is_held_out",
    "perception",
    "solution",
]

HELD_OUT_ONE_IN = 5  # sets of numbers
STEP_DIGIT = 10  # the most that a step adds to or takes from a total: 9 and a carry
STEP_TOTAL = 60  # no total of a step is larger: six digits sum to 54
DIGIT_SHARES = {1: (1.0,), 2: (0.3, 0.7), 3: (0.2, 0.4, 0.4)}  # of 1, 2, ... digits
SHAPES = ((2, 2), (3, 1), (3, 3), (2, 2, 2))  # at most so many digits in each row
ROWS = ("first", "second", "third")

Numbers = tuple[int, ...]
Columns = tuple[list[str], list[str]]  # lines for the ones, and for the tens


@dataclass(frozen=True)
class Kind:
    """One sort of question.

    Attributes:
      question: as it is asked.
      shapes: how many numbers the picture may hold, of how many digits.
      answer: of the numbers, in the order of the rows.
      steps: the calculation, line by line, with the ones checked by the inverse
        operation, or (long check) the ones and the tens.
    """

    question: str
    shapes: tuple[tuple[int, ...], ...]
    answer: Callable[[Numbers], int]
    steps: Callable[[Numbers, bool], list[str]]


def is_held_out(numbers: Numbers) -> bool:
    """Whether a set of numbers, in any order, belongs to the held-out questions.

    Small sets do not: as digits and running totals they show in the steps of others.
    """
    *_, second, largest = sorted(numbers)
    if second <= STEP_DIGIT and largest <= STEP_TOTAL:
        return False
    name = ",".join(str(number) for number in sorted(numbers))
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_ONE_IN == 0


def contains_held_out(numbers: Numbers) -> bool:
    """Whether a held-out set may show when these are calculated with.

    Such numbers are not to be trained on. The sets that show are the numbers, two of
    them, their last two digits (in a product), and the sum of all but the last with the
    last (in a two-step question).
    """
    shown = [
        subset
        for size in range(2, len(numbers) + 1)
        for subset in itertools.combinations(numbers, size)
    ]
    shown.append(tuple(number % 100 for number in numbers))
    shown.append((sum(numbers[:-1]), numbers[-1]))
    return any(map(is_held_out, shown))


def draw_numbers(
    rng: np.random.Generator, shape: tuple[int, ...], *, held_out: bool
) -> Numbers:
    """Numbers of at most so many digits each, held out or not at all.

    Args:
      rng: advanced until a set of the wanted sort is met.
      shape: the most digits of each number, one of `SHAPES`.
      held_out: True for a set that is held out; False for one that shows no such set.

    Raises:
      ValueError: there is no such shape.
    """
    if shape not in SHAPES:
        raise ValueError(f"shape: expected one of {SHAPES}, got {shape}")
    shares = [DIGIT_SHARES[most] for most in shape]
    while True:
        digits = [1 + rng.choice(len(share), p=share) for share in shares]
        numbers = tuple(int(rng.integers(10 ** (d - 1), 10**d)) for d in digits)
        if (is_held_out if held_out else contains_held_out)(numbers) == held_out:
            return numbers


def draw_shape(
    rng: np.random.Generator, shapes: tuple[tuple[int, ...], ...] = SHAPES
) -> tuple[int, ...]:
    """One of the shapes."""
    return shapes[int(rng.integers(len(shapes)))]


def caption(numbers: Numbers) -> str:
    """What stands in the picture, row by row."""
    return "\n".join(map(str, numbers))


def perception(rng: np.random.Generator, numbers: Numbers) -> tuple[str, str]:
    """A question that needs eyes and no calculation, and its answer."""
    row = int(rng.integers(len(numbers)))
    digits = str(numbers[row])
    place = int(rng.integers(len(digits)))
    largest = max(numbers)
    return (
        (f"Which digit stands {ROWS[place]} in the {ROWS[row]} row?", digits[place]),
        (f"Which digit stands last in the {ROWS[row]} row?", digits[-1]),
        (f"Which number stands in the {ROWS[row]} row?", digits),
        (f"How many digits does the {ROWS[row]} row have?", str(len(digits))),
        ("How many numbers are there?", str(len(numbers))),
        ("Which number is the largest?", str(largest)),
        ("Which row holds the largest number?", ROWS[numbers.index(largest)]),
    )[rng.choice(7, p=(0.25, 0.15, 0.25, 0.05, 0.05, 0.15, 0.1))]


def fact(rng: np.random.Generator) -> tuple[str, str]:
    """A line of the tables that solutions look up: "07+8=" and "15"; "4?7" and "<"."""
    a, b = (int(digit) for digit in rng.integers(10, size=2))
    teen = int(rng.integers(2 * STEP_DIGIT))
    total = int(rng.integers(STEP_TOTAL - 9))
    line = (
        add(teen, b),
        add(total, b),
        subtract(teen, int(rng.integers(STEP_DIGIT + 1))),
        multiply(a, b),
        compare(a, b),
    )[rng.choice(5, p=(0.2, 0.2, 0.3, 0.18, 0.12))]
    return re.fullmatch(r"(\d\?\d|[^=]+=)(.+)", line).groups()


def solution(kind: Kind, numbers: Numbers, *, long_check: bool) -> str:
    """The answer, thought out digit by digit, checked and boxed.

    Raises:
      ValueError: the answer is negative: it cannot be worked out digit by digit.
    """
    answer = kind.answer(numbers)
    if answer < 0:
        raise ValueError(f"numbers: expected an answer >= 0, got {answer} of {numbers}")
    steps = "\n".join(kind.steps(numbers, long_check))
    return f"<think>{steps}</think>\\boxed{{{answer}}}"


def add_columns(a: int, b: int) -> Columns:
    """a + b by columns: digit + digit, and before the tens a line for a carry."""
    carry = (a % 10 + b % 10) // 10
    carried = [add(a // 10, carry)] if carry else []
    return [add(a % 10, b % 10)], [*carried, add(a // 10 + carry, b // 10)]


def subtract_columns(a: int, b: int) -> Columns:
    """a - b by columns: digit - digit, and before the tens a line for a borrow."""
    borrow = int(a % 10 < b % 10)
    borrowed = [add(b // 10, borrow)] if borrow else []
    return [subtract(a % 10, b % 10)], [*borrowed, subtract(a // 10, b // 10 + borrow)]


def running_sum(numbers: Numbers) -> list[str]:
    """d1 + d2 = s, s + d3 = ..., a line each, with the digits still to come."""
    digits = " ".join(map(str, numbers))
    total, rest = int(digits[0]), digits[1:].lstrip()
    lines = []
    while rest:
        number, rest = int(rest[0]), rest[1:].lstrip()
        lines.append(f"{add(total, number)} {rest}".rstrip())
        total += number
    return lines


def compare_columns(a: int, b: int) -> list[str]:
    """a against b: their tens, and where those are equal their ones."""
    tens = [compare(a // 10, b // 10)]
    return tens if a // 10 != b // 10 else [*tens, compare(a % 10, b % 10)]


def add(total: int, number: int) -> str:
    return f"{total:02}+{number}={total + number:02}"


def subtract(total: int, number: int) -> str:
    """12-7=05, and where a ten must be borrowed 02-7=05-10."""
    borrowed = total < number
    line = f"{total:02}-{number}={total + 10 * borrowed - number:02}"
    return f"{line}-10" if borrowed else line


def multiply(a: int, b: int) -> str:
    return f"{a}*{b}={a * b:02}"


def compare(a: int, b: int) -> str:
    """4?7<, 7?4> and 4?4=."""
    return f"{a}?{b}{'=' if a == b else '<' if a < b else '>'}"


def all_digits(numbers: Numbers) -> list[int]:
    return [int(character) for number in numbers for character in str(number)]


def check(columns: Columns, long_check: bool) -> list[str]:
    """The ones, or the ones and the tens, by the inverse operation."""
    ones, tens = columns
    first, *rest = [*ones, *tens] if long_check else ones
    return [f"check {first}", *rest]


def sum_steps(numbers: Numbers, long_check: bool) -> list[str]:
    a, b = numbers
    ones, tens = add_columns(a, b)
    return [
        f"{a:02}+{b:02}",
        *ones,
        *tens,
        f"={a + b:03}",
        *check(subtract_columns(a + b, b), long_check),
    ]


def difference_steps(numbers: Numbers, long_check: bool) -> list[str]:
    first, second = numbers
    a, b = max(numbers), min(numbers)
    ones, tens = subtract_columns(a, b)
    return [
        f"{first:02},{second:02}",
        *compare_columns(first, second),
        f"{a:02}-{b:02}",
        *ones,
        *tens,
        f"={a - b:02}",
        *check(add_columns(a - b, b), long_check),
    ]


def digit_sum_steps(numbers: Numbers, long_check: bool) -> list[str]:
    *_, before, last = all_digits(numbers)
    total = sum(all_digits(numbers))
    back = [subtract(total % 10, last)], [subtract((total - last) % 10, before)]
    return [
        caption(numbers),
        *running_sum(numbers),
        f"={total:02}",
        *check(back, long_check),
    ]


def product_steps(numbers: Numbers, long_check: bool) -> list[str]:
    """The last two digits: of the ones' product both, of the tens' the last."""
    a, factor = numbers[0] % 100, numbers[1]
    ones, tens = a % 10 * factor, a // 10 * factor
    back = [f"{factor}*{a % 10}={ones:02}"], [f"{factor}*{a // 10}={tens:02}"]
    return [
        caption(numbers),
        f"{a:02}*{factor}",
        multiply(a % 10, factor),
        multiply(a // 10, factor),
        add(ones // 10, tens % 10),
        f"={a * factor % 100:02}",
        *check(back, long_check),
    ]


def two_step_steps(numbers: Numbers, long_check: bool) -> list[str]:
    a, b, c = numbers
    ones, tens = add_columns(a, b)
    left_ones, left_tens = subtract_columns(a + b, c)
    return [
        f"{a:02}+{b:02}",
        *ones,
        *tens,
        f"{a + b:03}-{c:02}",
        *left_ones,
        *left_tens,
        f"={a + b - c:03}",
        *check(add_columns(a + b - c, c), long_check),
    ]


KINDS: dict[str, Kind] = {
    "sum": Kind("What is the sum of the numbers?", ((2, 2),), sum, sum_steps),
    "difference": Kind(
        "What is the larger number minus the smaller one?",
        ((2, 2),),
        lambda numbers: max(numbers) - min(numbers),
        difference_steps,
    ),
    "digit_sum": Kind(
        "What is the sum of all digits?",
        ((3, 3), (2, 2, 2)),
        lambda numbers: sum(all_digits(numbers)),
        digit_sum_steps,
    ),
    "product": Kind(
        "What are the last two digits of the product?",
        ((3, 1),),
        lambda numbers: numbers[0] * numbers[1] % 100,
        product_steps,
    ),
    "two_step": Kind(
        "What is the first number plus the second minus the third?",
        ((2, 2, 2),),
        lambda numbers: numbers[0] + numbers[1] - numbers[2],
        two_step_steps,
    ),
}
