"""Every line of a worked solution is true, and no held-out set is ever trained on."""

import functools
import itertools
import operator
import re

import numpy as np
import pytest

from sophia_jax.data.arithmetic import (
    KINDS,
    SHAPES,
    caption,
    contains_held_out,
    draw_numbers,
    draw_shape,
    fact,
    is_held_out,
    perception,
    solution,
)

OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "<": operator.lt,
    "=": operator.eq,
    ">": operator.gt,
}
EDGES = (1, 2, 5, 8, 9, 10, 11, 19, 50, 90, 99, 100, 101, 109, 190, 199, 900, 990, 999)
OTHER_QUESTIONS = (
    "How many digits does",
    "How many numbers are",
    "Which number is the l",
    "Which row holds the largest",
    "Which digits are there",
)
SHAPE = re.compile(r"<think>(.*)</think>\\boxed\{(\d+)\}", re.DOTALL)


def expected_answer(kind, numbers):
    """By text and by other formulas than the code's."""
    match kind:
        case "sum":
            return -(-numbers[0] - numbers[1])
        case "difference":
            return abs(numbers[0] - numbers[1])
        case "digit_sum":
            digits = "".join(map(str, numbers))
            return sum(digit * digits.count(str(digit)) for digit in range(10))
        case "product":
            return int(str(numbers[0] * numbers[1])[-2:])
        case "two_step":
            return numbers[0] - (numbers[2] - numbers[1])


def value(expression):
    """Of an expression like 12+3-04, from left to right; * never stands beside +."""
    assert re.fullmatch(r"\d+([+*-]\d+)*", expression), expression
    first, *rest = re.findall(r"\d+|[+*-]", expression)
    total = int(first)
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        total = OPERATIONS[sign](total, int(number))
    return total


def equations(lines):
    """(left, right) of every line that says something is equal.

    A line =... goes on from the expression without =, or else from the last result.
    What stands behind a space is still to come; a line with ? compares two digits.
    """
    opened = right = None
    for line in lines:
        if "?" in line:
            continue
        expression = line.removeprefix("check ").split(" ")[0]
        left, equals, result = expression.partition("=")
        if not equals:
            opened = left if re.fullmatch(r"[\d+*-]*[+*-]\d+", left) else None
        else:
            yield left or opened or right, result
            right = result


def worked(kind, numbers, *, long_check):
    """Lines before the check, lines of the check, and what stands in the box."""
    match = SHAPE.fullmatch(solution(KINDS[kind], numbers, long_check=long_check))
    lines = match[1].split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("check ")]
    assert len(starts) == 1
    return lines[: starts[0]], lines[starts[0] :], int(match[2])


def cases(kind):
    """Thousands of random numbers, and all sets of numbers at the edges."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        yield draw_numbers(rng, draw_shape(rng, KINDS[kind].shapes), held_out=False)
    for shape in KINDS[kind].shapes:
        edges = ([n for n in EDGES if n < 10**digits] for digits in shape)
        yield from itertools.product(*edges)


@functools.cache
def solvable(kind):
    return [n for n in cases(kind) if expected_answer(kind, n) >= 0]


@pytest.mark.parametrize("long_check", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_line_of_every_solution_is_true(kind, long_check):
    modulus = 100 if kind == "product" else None
    for numbers in solvable(kind):
        lines, check, _ = worked(kind, numbers, long_check=long_check)
        pairs = list(equations(lines + check))
        assert len(pairs) >= 3 - (kind == "digit_sum")
        for left, right in pairs:
            distance = value(left) - value(right)
            # Only the last line of a product speaks of its last two digits.
            wraps = modulus and left == lines[len(numbers)]
            assert (distance % modulus if wraps else distance) == 0, (numbers, lines)


@pytest.mark.parametrize("kind", KINDS)
def test_box_and_last_line_hold_the_answer(kind):
    for numbers in solvable(kind):
        lines, _, boxed = worked(kind, numbers, long_check=False)
        assert boxed == expected_answer(kind, numbers)
        assert boxed == KINDS[kind].answer(numbers)
        assert int(lines[-1].removeprefix("=")) == boxed


def first_number(text):
    """What is found, before what is borrowed or still to come."""
    return int(re.match(r"\d+", text)[0])


@pytest.mark.parametrize(("kind", "sign"), [("sum", "+"), ("difference", "-")])
def test_columns_start_from_the_digits_and_make_up_the_answer(kind, sign):
    for numbers in solvable(kind):
        a, b = numbers if kind == "sum" else (max(numbers), min(numbers))
        lines, _, boxed = worked(kind, numbers, long_check=False)
        start = lines.index(f"{a:02}{sign}{b:02}") + 1
        ones, *carried, tens = lines[start:-1]
        assert ones.startswith(f"{a % 10:02}{sign}{b % 10}=")
        overflows = a % 10 + b % 10 > 9 if kind == "sum" else a % 10 < b % 10
        grows = a // 10 if kind == "sum" else b // 10
        assert carried == [f"{grows:02}+1={grows + 1:02}"] * overflows
        assert value(tens.partition("=")[0]) == boxed // 10
        assert first_number(ones.partition("=")[2]) % 10 == boxed % 10


def ones_that_the_check_finds(kind, numbers):
    """By hand: the inverse operation gives back the ones of what was there before."""
    match kind:
        case "sum":
            return numbers[0] % 10
        case "difference":
            return max(numbers) % 10
        case "digit_sum":
            return sum(int(d) for d in "".join(map(str, numbers))[:-1]) % 10
        case "product":
            return (numbers[0] % 10) * (numbers[1] % 10) % 10
        case "two_step":
            return (numbers[0] + numbers[1]) % 10


@pytest.mark.parametrize("kind", KINDS)
def test_check_goes_back_from_the_answer_and_a_long_one_goes_further(kind):
    for numbers in solvable(kind):
        _, short, _ = worked(kind, numbers, long_check=False)
        _, long, _ = worked(kind, numbers, long_check=True)
        assert len(short) == 1
        assert short == long[:1]
        assert len(long) == 2 or (len(long) == 3 and "+1=" in long[1])
        ones = first_number(short[0].partition("=")[2]) % 10
        assert ones == ones_that_the_check_finds(kind, numbers)


@pytest.mark.parametrize(
    ("kind", "numbers", "results"),
    [
        # 8 + 7 = 15, 5 + 1 = 6, 6 + 6 = 12, so 125;
        # back: 15 - 7 = 8 with a ten borrowed, 6 + 1 = 7, 12 - 7 = 5.
        ("sum", (58, 67), [15, 6, 12, 125, 8, 7, 5]),
        # 13 - 7 = 6 with a ten borrowed, 0 + 1 = 1, 8 - 1 = 7, so 76;
        # back: 6 + 7 = 13, 7 + 1 = 8, 8 + 0 = 8.
        ("difference", (7, 83), [6, 1, 7, 76, 13, 8, 8]),
        # 4 + 7 = 11, then 3, 0 and 5 more; back, of the ones: 9 - 5, and 4 - 0.
        ("digit_sum", (47, 305), [11, 14, 14, 19, 19, 4, 4]),
        # 137 * 5 = 685: 7 * 5 = 35, 3 * 5 = 15, and 3 + 5 = 8 tens.
        ("product", (137, 5), [35, 15, 8, 85, 35, 15]),
        # 58 + 67: 15, 5 + 1 = 6, 6 + 6 = 12, so 125; less 36: 15 - 6 = 9 with a ten
        # borrowed, 3 + 1 = 4, 12 - 4 = 8, so 89; back: 9 + 6 = 15, 8 + 1 = 9, 9 + 3.
        ("two_step", (58, 67, 36), [15, 6, 12, 9, 4, 8, 89, 15, 9, 12]),
    ],
)
def test_solutions_worked_by_hand(kind, numbers, results):
    lines, check, boxed = worked(kind, numbers, long_check=True)
    written = [
        line.partition("=")[2]
        for line in lines + check
        if "=" in line and "?" not in line
    ]
    assert [first_number(result) for result in written] == results
    assert boxed == int(lines[-1].removeprefix("="))


def test_a_running_sum_lists_the_digits_still_to_come():
    lines, _, _ = worked("digit_sum", (47, 305), long_check=False)
    sums = ["04+7=11 305", "11+3=14 05", "14+0=14 5", "14+5=19", "=19"]
    assert lines == ["47", "305", *sums]
    lines, _, _ = worked("digit_sum", (4, 25, 83), long_check=False)
    sums = ["04+2=06 5 83", "06+5=11 83", "11+8=19 3", "19+3=22", "=22"]
    assert lines == ["4", "25", "83", *sums]


@pytest.mark.parametrize(
    ("numbers", "compared"),
    [
        ((47, 52), ["4?5<"]),
        ((52, 9), ["5?0>"]),
        ((41, 48), ["4?4=", "1?8<"]),
        ((9, 9), ["0?0=", "9?9="]),
    ],
)
def test_a_difference_compares_the_tens_and_then_the_ones(numbers, compared):
    lines, _, _ = worked("difference", numbers, long_check=False)
    a, b = max(numbers), min(numbers)
    restated = f"{numbers[0]:02},{numbers[1]:02}"
    assert lines[: 2 + len(compared)] == [restated, *compared, f"{a:02}-{b:02}"]


def test_tables_hold_every_line_that_a_solution_looks_up():
    rng = np.random.default_rng(5)
    table = dict(fact(rng) for _ in range(60_000))
    for question, answer in table.items():
        terms = tuple(map(int, re.findall(r"\d+", question)))
        if "?" in question:
            assert OPERATIONS[answer](*terms), question
        else:
            assert value(question[:-1]) == value(answer), question
        assert not is_held_out(terms)
    for kind in KINDS:
        for numbers in solvable(kind)[:500]:
            lines, check, _ = worked(kind, numbers, long_check=True)
            for line in lines + check:
                line = line.removeprefix("check ")
                question, sign, rest = line.partition("?" if "?" in line else "=")
                if sign == "?":
                    assert table[f"{question}?{rest[0]}"] == rest[1]
                elif question and sign:
                    assert table[f"{question}="] == rest.split(" ")[0]


def test_negative_answers_are_refused():
    with pytest.raises(ValueError, match=r"answer >= 0, got -1 of \(1, 1, 3\)"):
        solution(KINDS["two_step"], (1, 1, 3), long_check=False)


def test_caption_has_one_number_a_row():
    assert caption((7, 40, 123)) == "7\n40\n123"


def test_perception_answers_are_read_off_the_rows():
    rng = np.random.default_rng(1)
    places = {"first": 0, "second": 1, "third": 2, "last": -1}
    seen = set()
    for _ in range(3000):
        numbers = draw_numbers(rng, draw_shape(rng), held_out=False)
        question, answer = perception(rng, numbers)
        rows = [str(number) for number in numbers]
        row = re.search(r"in the (\w+) row|does the (\w+) row", question)
        digits = rows[places[row[1] or row[2]]] if row else ""
        if match := re.match(r"Which digit stands (\w+)", question):
            wanted = digits[places[match[1]]]
        elif question.startswith("Which number stands"):
            wanted = digits
        else:
            wanted = {
                "How many digits does": str(len(digits)),
                "How many numbers are": str(len(rows)),
                "Which number is the l": max(rows, key=int),
                "Which row holds the largest": list(places)[
                    rows.index(max(rows, key=int))
                ],
                "Which digits are there": "".join(rows),
            }[next(s for s in OTHER_QUESTIONS if question.startswith(s))]
        assert answer == wanted, (question, numbers)
        seen.add(" ".join(question.split()[:4]))
    assert len(seen) >= 7


def test_held_out_sets_know_no_order():
    rng = np.random.default_rng(2)
    for _ in range(500):
        numbers = tuple(int(n) for n in rng.integers(1, 1000, size=3))
        orders = itertools.permutations(numbers)
        assert len({is_held_out(order) for order in orders}) == 1


def test_one_set_in_five_is_held_out():
    # Of 20,000 sets, 4,000 are expected, with a standard deviation of 57.
    pairs = itertools.product(range(1, 201), range(201, 301))
    assert abs(sum(map(is_held_out, pairs)) - 4000) < 4 * 57


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_of_any_solution_is_a_held_out_set(kind):
    for numbers in solvable(kind):
        lines, check, _ = worked(kind, numbers, long_check=True)
        # The first lines restate the numbers themselves.
        # A line without = restates numbers: those of the question, or a sum and the
        # third, which `contains_held_out` knows.
        for line in lines + check:
            left, equals, _ = line.partition("=")
            terms = tuple(map(int, re.findall(r"\d+", left)))
            if equals and len(terms) > 1:
                assert not is_held_out(terms)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_held_out_set_shows_among_numbers_to_train_on(shape):
    rng = np.random.default_rng(3)
    for _ in range(2000):
        numbers = draw_numbers(rng, shape, held_out=False)
        assert len(numbers) == len(shape)
        for size in range(2, len(shape) + 1):
            assert not any(map(is_held_out, itertools.permutations(numbers, size)))
        # What a product and a two-step question are worked out from.
        assert not is_held_out(tuple(number % 100 for number in numbers))
        assert not is_held_out((sum(numbers[:-1]), numbers[-1]))


@pytest.mark.parametrize("shape", SHAPES)
def test_held_out_numbers_are_all_held_out_and_have_the_shape(shape):
    rng = np.random.default_rng(4)
    drawn = [draw_numbers(rng, shape, held_out=True) for _ in range(500)]
    assert all(map(is_held_out, drawn))
    assert all(number > 0 for numbers in drawn for number in numbers)
    for row, most in enumerate(shape):
        lengths = {len(str(numbers[row])) for numbers in drawn}
        assert max(lengths) == most


def test_pair_that_only_shows_in_the_working_counts():
    # The last two digits of 1xx times a digit are worked out from xx.
    number, factor = next(
        (number, factor)
        for number, factor in itertools.product(range(61, 100), range(1, 10))
        if is_held_out((number, factor)) and not is_held_out((100 + number, factor))
    )
    assert contains_held_out((100 + number, factor))


def test_small_sets_are_never_held_out():
    # 54 + 9 is the largest step of a digit sum, 19 - 10 of a subtraction.
    steps = itertools.product(range(1, 11), range(1, 61))
    assert not any(map(is_held_out, steps))
    assert any(is_held_out((digit, 61)) for digit in range(1, 11))
    assert any(is_held_out((11, number)) for number in range(11, 61))


def test_all_shapes_are_drawn_as_often():
    rng = np.random.default_rng(5)
    drawn = [draw_shape(rng) for _ in range(3000)]
    assert set(drawn) == set(SHAPES)
    share = 1 / len(SHAPES)
    deviation = (3000 * share * (1 - share)) ** 0.5
    for shape in SHAPES:
        assert abs(drawn.count(shape) - 3000 * share) < 4 * deviation
    assert draw_shape(rng, SHAPES[:1]) == SHAPES[0]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shape: expected one of .*, got \(4, 4\)"):
        draw_numbers(np.random.default_rng(0), (4, 4), held_out=False)
