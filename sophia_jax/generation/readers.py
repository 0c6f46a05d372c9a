"""Who reads which page: the tables of a decoding chunk, from the samples' chains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sophia_jax.models.paged import Chains

__all__ = [
    "ChainShape",
    "Part",
    "Row",
    "Shapes",
    "Table",
    "chain_shape",
    "few_shapes",
    "make_chains",
    "rows_of",
]

READERS_TOGETHER = 8  # samples that read a chain in one product
MOST_ROWS_AT_ONCE = 16  # whose pages a core's cache holds
FEWER_ROWS = 4  # slots for each row of a table of prompts with many readers
ROWS_IN = 4  # steps in which a full table is read, where that are fewer rows
WORTH_GATHERING = 0.4  # share of a table's rows that have a page which all gather


class Part(NamedTuple):
    """A page of a chain, and its tokens that count."""

    page: int
    start: int
    end: int


class Row(NamedTuple):
    """A chain, and the slots that read it."""

    parts: Sequence[Part]
    slots: Sequence[int]


class ChainShape(NamedTuple):
    """Sizes of a table, of which there are few, since each costs a program.

    Attributes:
      rows: as many as slots; fewer, where slots read together.
      readers: of each row, a power of 2.
      gathered: parts of each row that stand side by side.
    """

    rows: int
    readers: int
    gathered: int

    @property
    def room(self) -> int:
        """Pages that are read in each step, at least."""
        return self.rows * max(self.gathered, 1)


# Shapes of tables that have a program, by the table's name and the program's slots.
Shapes = dict[tuple[str, int], list[ChainShape]]


class Table(NamedTuple):
    """Who reads what, and how many parts of each row are to stand side by side."""

    chains: Chains
    gathered: int


def rows_of(chains: Mapping[int, Sequence[Part]]) -> list[Row]:
    """Rows from the chain of each slot, the longest first.

    Slots with equal chains read them together, `READERS_TOGETHER` at a time.
    """
    slots_of: dict[tuple[Part, ...], list[int]] = defaultdict(list)
    for slot, parts in chains.items():
        if parts:
            slots_of[tuple(parts)].append(slot)
    rows = [
        Row(parts, slots[first : first + READERS_TOGETHER])
        for parts, slots in slots_of.items()
        for first in range(0, len(slots), READERS_TOGETHER)
    ]
    return sorted(rows, key=lambda row: -len(row.parts))


def chain_shape(
    rows: Sequence[Row],
    *,
    num_slots: int,
    most_gathered: int,
    known: Sequence[ChainShape],
    spare: float,
) -> ChainShape | None:
    """The sizes of a table for some rows; None where nothing is read.

    A part is gathered where it stands in enough of the rows: pages side by side are
    read more than twice as fast, but those of rows that are too short in vain.

    Args:
      rows: of `rows_of`.
      num_slots: of the program.
      most_gathered: pages in all that may stand side by side.
      known: shapes that have a program; one of them is taken where it fits.
      spare: times the best shape's room that a known one may have.
    """
    readers, gathered, best_room, best = 1, 0, 0, None
    if rows:
        readers = 1 << (max(len(row.slots) for row in rows) - 1).bit_length()
        num_rows = num_slots if readers == 1 else min(_enough(len(rows)), num_slots)
        enough = int(WORTH_GATHERING * num_rows)
        worth = len(rows[enough].parts) if enough < len(rows) else 0
        gathered = _few_numbers(min(worth, most_gathered // num_rows))
        best = ChainShape(num_rows, readers, gathered)
        best_room = best.room

    def fits(shape: ChainShape) -> bool:
        return (
            shape.rows >= len(rows)
            and shape.readers >= readers
            and shape.gathered >= gathered
            and shape.rows * shape.gathered <= most_gathered
            and shape.room <= spare * best_room
        )

    return min(filter(fits, known), key=lambda shape: shape.room, default=best)


def few_shapes(sizes: Sequence[int]) -> Shapes:
    """All the shapes that are needed where nothing is gathered.

    Prompts of one reader each, of many, and of any number.

    Args:
      sizes: slots of the programs.
    """
    most = READERS_TOGETHER
    return {("own", slots): [ChainShape(slots, 1, 0)] for slots in sizes} | {
        ("prompts", slots): [
            ChainShape(-(-slots // FEWER_ROWS), most, 0),
            ChainShape(slots, 1, 0),
            ChainShape(slots, most, 0),
        ]
        for slots in sizes
    }


def _enough(least: int) -> int:
    """The least from a number on of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, ..."""
    power = 1 << (least - 1).bit_length()
    return max(power, 1) if 3 * power // 4 < least else 3 * power // 4


def _few_numbers(most: int) -> int:
    """The largest up to a number of 0, 1, ..., 8, 10, ..., 16, 20, ..., 32, 40, ..."""
    step = max(1 << most.bit_length() >> 3, 1)
    return most // step * step


def make_chains(
    rows: Sequence[Row], shape: ChainShape, *, num_slots: int, most_parts: int
) -> Table:
    """The table of some rows, in a shape of `chain_shape`."""
    at_once = min(MOST_ROWS_AT_ONCE, -(-shape.rows // ROWS_IN))
    num_rows = -(-shape.rows // at_once) * at_once
    parts = np.zeros((3, num_rows, most_parts), np.int32)
    reader = np.zeros((num_rows, shape.readers), np.int32)
    num_parts = np.zeros(num_rows // at_once, np.int32)
    place = np.full(num_slots, -1, np.int32)
    for number, row in enumerate(rows):
        parts[:, number, : len(row.parts)] = np.transpose(row.parts)
        reader[number, : len(row.slots)] = row.slots
        place[row.slots] = number * shape.readers + np.arange(len(row.slots))
    for number in range(0, len(rows), at_once):
        num_parts[number // at_once] = len(rows[number].parts)
    page, start, end = parts
    chains = Chains(
        page=page,
        start=start,
        end=end,
        reader=reader,
        place=place,
        num_parts=num_parts,
    )
    return Table(chains, shape.gathered)
