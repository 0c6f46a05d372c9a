"""Batches hold exactly the shares that were asked for, and every part comes in full."""

from collections import Counter

import pytest

from sophia_jax.data.mixing import mix_examples


def taken(mixed, number):
    return [mixed[index] for index in range(number)]


def test_every_batch_holds_the_same_number_of_each_part():
    parts = [(["a"] * 5, 9), (["b"] * 50, 6), (["c"] * 3, 2), (["d"] * 700, 7)]
    mixed = mix_examples(parts, seed=0)
    for batch in range(40):
        counts = Counter(mixed[24 * batch + place] for place in range(24))
        assert counts == {"a": 9, "b": 6, "c": 2, "d": 7}


def test_each_part_is_read_whole_before_it_is_read_again():
    mixed = mix_examples([(range(0, 7), 2), (range(100, 103), 1)], seed=1)
    drawn = taken(mixed, 63)  # 42 of the first part, 21 of the second
    for part, size in ((range(0, 7), 7), (range(100, 103), 3)):
        mine = [number for number in drawn if number in part]
        epochs = [mine[start : start + size] for start in range(0, len(mine), size)]
        assert all(sorted(epoch) == list(part) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1  # in new orders


def test_the_seed_decides_the_order():
    parts = [(range(100), 1), (range(100, 200), 1)]
    once, again, other = (mix_examples(parts, seed=seed) for seed in (3, 3, 4))
    assert taken(once, 50) == taken(again, 50)
    assert taken(once, 50) != taken(other, 50)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "parts: expected at least one, got none"),
        (
            [([1], 1), ([], 2)],
            "part 1: expected examples and a weight > 0, got 0 and 2",
        ),
        ([([1], 0)], "part 0: expected examples and a weight > 0, got 1 and 0"),
    ],
)
def test_parts_without_examples_or_weight_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        mix_examples(parts, seed=0)
