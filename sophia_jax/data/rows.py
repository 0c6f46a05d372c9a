"""Which example stands in which row: shapes that hold little padding, and are few."""

from __future__ import annotations

from collections.abc import Sequence

from sophia_jax.types import InputError

__all__ = ["Place", "assign_rows", "bucket_size", "choose_rows", "deal", "power_of_two"]

Place = tuple[int, int]  # an example's row, and its first token there

FINEST = 32  # steps of a row's length between two powers of two


def bucket_size(number: int, step: int) -> int:
    """The size to which a number of things is padded, so that few programs arise.

    The next multiple of `step` or, where that is larger, of a quarter of the power of
    two at or below `number`; so at most four sizes lie between two powers of two, and
    a size beyond 4 steps is padded by less than a quarter.
    """
    step = max(step, power_of_two(number) // 4)
    return -(-number // step) * step


def choose_rows(
    parts: Sequence[Sequence[int]], row_length: int, *, rows: int, tokens: int
) -> tuple[int, int, list[list[Place]]]:
    """Rows, as few as can hold the examples, and just as long as they need.

    A row's length grows in steps of `tokens` or, where that is more, of 1/32 of the
    power of two below it: at most 3 % of a long row are padding for the step's sake.

    Args:
      parts: lengths of the examples of each part; all parts get rows of one shape.
      row_length: tokens that a row may have.
      rows: a step of `bucket_size`, by which the number of rows grows.
      tokens: the smallest step of a row's length.

    Returns:
      Number of rows, their length, and the places of each part's examples.

    Raises:
      InputError: an example is longer than `row_length`.
    """
    tokens_needed = max(map(sum, parts))
    longest = max(max(lengths, default=1) for lengths in parts)
    num_rows = bucket_size(-(-tokens_needed // row_length), rows)
    length = max(longest, -(-tokens_needed // num_rows))
    while True:
        step = max(tokens, power_of_two(length) // FINEST)
        length = min(-(-length // step) * step, row_length)
        places = [assign_rows(lengths, length) for lengths in parts]
        if all(row < num_rows for part in places for row, _ in part):
            return num_rows, length, places
        length += 1
        if length > row_length:
            num_rows = bucket_size(num_rows + 1, rows)
            length = max(longest, -(-tokens_needed // num_rows))


def assign_rows(lengths: Sequence[int], row_length: int) -> list[Place]:
    """Best fit, longest first: for each example its row and its first token there."""
    places: list[Place] = [(0, 0)] * len(lengths)
    filled: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if length > row_length:
            raise InputError(
                f"example {index}: expected at most row_length={row_length} tokens, "
                f"got {length}"
            )
        fitting = [
            row for row, used in enumerate(filled) if used + length <= row_length
        ]
        if not fitting:
            filled.append(0)
        row = max(fitting, key=filled.__getitem__, default=len(filled) - 1)
        places[index] = (row, filled[row])
        filled[row] += length
    return places


def deal(lengths: Sequence[int], num_parts: int) -> list[list[int]]:
    """Examples in parts that are alike in tokens.

    The longest first, each to the part that has the fewest tokens so far.

    Args:
      lengths: tokens of each example.
      num_parts: if more than there are examples, the rest of them are empty.

    Returns:
      The indices of each part's examples.
    """
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    tokens = [0] * num_parts
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        part = tokens.index(min(tokens))
        parts[part].append(index)
        tokens[part] += lengths[index]
    return parts


def power_of_two(number: int) -> int:
    """The one at or below a number, 1 at least."""
    return 1 << max(number.bit_length() - 1, 0)
