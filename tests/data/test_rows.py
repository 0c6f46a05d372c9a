"""Rows with little padding, in few shapes."""

import numpy as np
import pytest

from sophia_jax.data.rows import assign_rows, bucket_size, choose_rows, deal
from sophia_jax.types import InputError


def workload(seed, num_examples):
    """Prompts of 160 tokens, answers lognormal: median 96, sigma 0.7, at most 384."""
    rng = np.random.default_rng(seed)
    answers = np.clip(rng.lognormal(np.log(96), 0.7, num_examples), 1, 384)
    return (160 + answers.astype(int) - 1).tolist()


def test_rows_are_filled_longest_first():
    # 6; 5; 4 joins 6; 3 joins 5; 2 joins 8, the other has no place left.
    assert assign_rows([3, 6, 2, 5, 4, 2], 10) == [
        (1, 5),
        (0, 0),
        (1, 8),
        (1, 0),
        (0, 6),
        (2, 0),
    ]


def test_no_row_holds_more_than_its_length():
    lengths = np.random.default_rng(0).integers(1, 50, 300).tolist()
    used = np.zeros(300, int)
    spans = sorted(zip(assign_rows(lengths, 50), lengths, strict=True))
    for (row, start), length in spans:
        assert start == used[row]
        used[row] += length
    assert used.max() <= 50
    # No two rows could be one.
    filled = np.sort(used[used > 0])
    assert filled[0] + filled[1] > 50


@pytest.mark.parametrize(
    ("number", "step", "size"),
    # Up to 4 steps: multiples of the step; then of 1/4 of the power of two below.
    [
        *[(1, 16, 16), (16, 16, 16), (17, 16, 32), (127, 16, 128), (129, 16, 160)],
        *[(3328, 16, 3584), (3585, 16, 4096), (5, 2, 6), (9, 2, 10), (17, 2, 20)],
    ],
)
def test_bucket_sizes(number, step, size):
    assert bucket_size(number, step) == size


def test_few_bucket_sizes_serve_all_numbers():
    sizes = [bucket_size(number, 16) for number in range(1, 8193)]
    assert sizes == sorted(sizes)
    assert all(size >= number for number, size in enumerate(sizes, 1))
    assert all(
        size < 1.25 * number for number, size in enumerate(sizes, 1) if number > 64
    )
    # 16, 32, 48, 64, and four for each of the seven doublings up to 8192.
    assert len(set(sizes)) == 4 + 4 * 7


def test_an_example_joins_the_row_that_it_fills_best():
    # 12; 10 beside nothing; 9 beside 10; 1 leaves nothing beside 10 + 9, 7 beside 12.
    assert assign_rows([12, 10, 9, 1], 20) == [(0, 0), (1, 0), (1, 10), (1, 19)]


def fill(lengths, num_parts):
    """The share of real tokens in rows for so many parts."""
    parts = [[lengths[i] for i in part] for part in deal(lengths, num_parts)]
    num_rows, length, _ = choose_rows(parts, 4096, rows=1, tokens=32)
    assert length <= 4096
    return sum(lengths) / (num_parts * num_rows * length)


@pytest.mark.parametrize("num_examples", [8, 32, 64, 512])
def test_19_of_20_tokens_are_real_in_every_batch(num_examples):
    shares = [fill(workload(seed, num_examples), 1) for seed in range(30)]
    assert min(shares) >= 0.95


@pytest.mark.parametrize(
    ("num_examples", "num_parts"), [(16, 1), (32, 4), (64, 8), (512, 8), (512, 16)]
)
def test_19_of_20_tokens_are_real_on_average_in_few_examples_or_parts(
    num_examples, num_parts
):
    shares = [fill(workload(seed, num_examples), num_parts) for seed in range(30)]
    assert np.mean(shares) >= 0.95
    assert min(shares) >= 0.92


def test_batches_of_one_size_have_few_shapes():
    shapes = set()
    for seed in range(100):
        num_rows, length, _ = choose_rows(
            [workload(seed, 512)], 4096, rows=1, tokens=16
        )
        shapes.add((num_rows, length))
    assert len(shapes) <= 8


def test_rows_are_as_many_as_a_multiple_asked_for():
    # 10 tokens in rows of 4: 3 rows, rounded up to 4, which then need 4 tokens for 4.
    assert choose_rows([[4, 3, 3]], 4, rows=2, tokens=1)[:2] == (4, 4)
    # 30 tokens in rows of 16: 2 rows of 15.
    assert choose_rows([[9, 6, 8, 7]], 16, rows=1, tokens=1)[:2] == (2, 15)


def test_all_parts_fit_the_rows_of_the_largest():
    num_rows, length, places = choose_rows([[5, 5], [3]], 10, rows=1, tokens=1)
    assert (num_rows, length) == (1, 10)
    assert places == [[(0, 0), (0, 5)], [(0, 0)]]


def test_a_length_that_no_row_holds_is_refused():
    with pytest.raises(InputError, match="example 1: expected at most row_length=8"):
        choose_rows([[3, 9]], 8, rows=1, tokens=1)


def test_parts_are_alike_in_tokens():
    # 9 | 8; 7 to 8; 6 to 9; 5 to either of 15: the first; 4 to the other.
    assert deal([9, 8, 7, 6, 5, 4], 2) == [[0, 3, 4], [1, 2, 5]]
    # One long example stands against many short ones.
    assert deal([2, 2, 6, 2], 2) == [[2], [0, 1, 3]]
    assert all(deal([1] * 7, 7))
