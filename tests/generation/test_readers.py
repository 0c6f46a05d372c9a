"""Tables of who reads which page, worked out by hand."""

import math

import numpy as np
import pytest

from sophia_jax.generation.readers import (
    ChainShape,
    Part,
    Row,
    chain_shape,
    make_chains,
    rows_of,
)


def chain(*pages):
    """Whole pages of 4 tokens."""
    return [Part(page, 0, 4) for page in pages]


def test_equal_chains_are_read_together_eight_at_a_time():
    chains = {slot: chain(7) for slot in range(10)} | {10: chain(7, 8), 11: []}
    assert rows_of(chains) == [
        Row((*chain(7, 8),), [10]),
        Row((*chain(7),), [0, 1, 2, 3, 4, 5, 6, 7]),
        Row((*chain(7),), [8, 9]),
    ]


def test_a_page_whose_tokens_count_differently_is_another_chain():
    rows = rows_of({0: [Part(3, 0, 4)], 1: [Part(3, 2, 4)]})
    assert sorted(row.slots for row in rows) == [[0], [1]]


def rows_with(*num_parts, readers=1):
    """Rows of so many parts, each with so many readers."""
    slots = iter(range(100))
    return [
        Row(chain(*range(parts)), [next(slots) for _ in range(readers)])
        for parts in num_parts
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # One row for each of 8 slots, of which 40 % are 3: the 4th longest counts.
        (rows_with(9, 9, 5, 5, 2, 1, 1, 1), (8, 1, 5)),
        # Where fewer than that have a page, nothing is gathered.
        (rows_with(9, 9, 5), (8, 1, 0)),
        # Of rows that are read by 2 slots each, as few as are needed: 3, or 6 for 5.
        (rows_with(3, 2, 2, readers=2), (3, 2, 2)),
        (rows_with(2, 2, 2, 2, 2, readers=2), (6, 2, 2)),
        # 9 parts are not among the few numbers, 8 are.
        (rows_with(9, 9, 9, 9, readers=2), (4, 2, 8)),
    ],
)
def test_shapes_gather_what_enough_rows_have(rows, expected):
    shape = chain_shape(rows, num_slots=8, most_gathered=1000, known=(), spare=2)
    assert shape == ChainShape(*expected)


def test_no_more_is_gathered_than_there_is_room_for():
    rows = rows_with(*[6] * 8)
    for room, gathered in ((0, 0), (7, 0), (8, 1), (47, 5), (48, 6)):
        shape = chain_shape(rows, num_slots=8, most_gathered=room, known=(), spare=2)
        assert shape.gathered == gathered
    # Nor because an earlier table had more room.
    earlier = ChainShape(8, 1, 6)
    shape = chain_shape(rows, num_slots=8, most_gathered=24, known=[earlier], spare=2)
    assert shape.gathered == 3


def test_a_known_shape_is_taken_where_it_wastes_little():
    known = [ChainShape(8, 2, 6), ChainShape(8, 2, 4)]

    def shape_for(rows, spare=2.0):
        return chain_shape(
            rows, num_slots=8, most_gathered=99, known=known, spare=spare
        )

    assert shape_for(rows_with(*[3] * 8)) == ChainShape(8, 2, 4)  # the smaller
    assert shape_for(rows_with(*[5] * 8)) == ChainShape(8, 2, 6)
    assert shape_for(rows_with(*[7] * 8)) == ChainShape(8, 1, 7)
    # Eight times what is needed, and more; four readers where there are two.
    assert shape_for(rows_with(1, 1, 1, 1, readers=2)) == ChainShape(4, 2, 1)
    assert shape_for([]) is None
    assert shape_for(rows_with(4, 4, readers=4)) == ChainShape(2, 4, 4)
    # Where programs are to be few, any that fits will do.
    assert shape_for(rows_with(1, 1, 1, 1, readers=2), math.inf) == known[1]
    assert shape_for([], math.inf) is None


def test_tables_say_who_reads_what():
    rows = rows_of({0: chain(5), 2: [Part(6, 0, 4), Part(9, 0, 1)], 3: chain(5)})
    shape = chain_shape(rows, num_slots=4, most_gathered=0, known=(), spare=2)
    chains, gathered = make_chains(rows, shape, num_slots=4, most_parts=3)
    assert gathered == 0
    np.testing.assert_array_equal(chains.page, [[6, 9, 0], [5, 0, 0]])
    np.testing.assert_array_equal(chains.end, [[4, 1, 0], [4, 0, 0]])
    np.testing.assert_array_equal(chains.reader, [[2, 0], [0, 3]])
    np.testing.assert_array_equal(chains.place, [2, -1, 0, 3])
    np.testing.assert_array_equal(chains.num_parts, [2, 1])
