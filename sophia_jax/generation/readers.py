"""Who reads which page: the tables of a decoding chunk, from the samples' chains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sophia_jax.models.paged import Chains, Readers

__all__ = ["Part", "READERS_TOGETHER", "make_readers"]

READERS_TOGETHER = 8  # samples that read a shared chain in one product
MOST_ROWS_AT_ONCE = 16  # whose pages a core's cache holds
ROWS_IN = 4  # steps in which a full table is read, where that are fewer rows


class Part(NamedTuple):
    """A page of a chain, and its tokens that count."""

    page: int
    start: int
    end: int


def make_readers(
    shared: Mapping[int, Sequence[Part]],
    own: Mapping[int, Sequence[Part]],
    *,
    num_slots: int,
    most_parts: int,
) -> Readers:
    """The tables for slots whose prompts and own pages are given.

    Slots with equal prompts read them together, `READERS_TOGETHER` at a time; one that
    is alone reads its prompt as the beginning of its own chain.

    Args:
      shared: the prompt's pages of each running slot.
      own: the pages that the slot has filled itself.
      num_slots: slots of the program.
      most_parts: pages that a chain can have.

    Returns:
      The tables, of shapes that depend on `num_slots` and `most_parts` alone.
    """
    slots_of: dict[tuple[Part, ...], list[int]] = defaultdict(list)
    for slot, parts in shared.items():
        slots_of[tuple(parts)].append(slot)
    together, alone = [], {slot: list(parts) for slot, parts in own.items()}
    for parts, slots in slots_of.items():
        for first in range(0, len(slots), READERS_TOGETHER):
            some = slots[first : first + READERS_TOGETHER]
            if len(some) > 1 and parts:
                together.append((parts, some))
            else:
                alone |= {slot: [*parts, *alone[slot]] for slot in some}
    by_itself = [(parts, [slot]) for slot, parts in alone.items() if parts]
    shared_chains, shared_place = _chains(
        together,
        -(-num_slots // 2),  # a shared chain has two readers at least
        min(READERS_TOGETHER, num_slots),
        num_slots,
        most_parts,
    )
    own_chains, own_place = _chains(by_itself, num_slots, 1, num_slots, most_parts)
    return Readers(
        shared=shared_chains,
        own=own_chains,
        shared_place=shared_place,
        own_place=own_place,
    )


def _chains(
    rows: list[tuple[Sequence[Part], list[int]]],
    most_rows: int,
    num_readers: int,
    num_slots: int,
    most_parts: int,
) -> tuple[Chains, np.ndarray]:
    """The longest chains first; and where each slot stands among the readers."""
    rows = sorted(rows, key=lambda row: -len(row[0]))
    at_once = min(MOST_ROWS_AT_ONCE, -(-most_rows // ROWS_IN))
    num_rows = -(-most_rows // at_once) * at_once
    parts = np.zeros((3, num_rows, most_parts), np.int32)
    reader = np.zeros((num_rows, num_readers), np.int32)
    num_parts = np.zeros(num_rows // at_once, np.int32)
    place = np.full(num_slots, -1, np.int32)
    for number, (chain, slots) in enumerate(rows):
        parts[:, number, : len(chain)] = np.transpose(chain)
        reader[number, : len(slots)] = slots
        place[slots] = number * num_readers + np.arange(len(slots))
    for number in range(0, len(rows), at_once):
        num_parts[number // at_once] = len(rows[number][0])
    page, start, end = parts
    chains = Chains(page=page, start=start, end=end, reader=reader, num_parts=num_parts)
    return chains, place
