"""The largest batch, by a compiler whose memory is a straight line, or nearly one."""

import pytest

from sophia_jax.planning.compiling import Compiled
from sophia_jax.planning.search import MOST_TRIES, try_batches


def compiler(memory, usable=1000):
    """Compiles any batch at once, and keeps a list of them."""
    asked = []

    def compile_batch(batch):
        asked.append(batch)
        return Compiled(0.0, memory(batch), usable)

    return compile_batch, asked


def largest(tried):
    return max((each.batch for each in tried if each.compiled.fits), default=None)


@pytest.mark.parametrize("first", [1, 10, 40, 89, 90, 200])
def test_a_straight_line_is_followed_to_within_a_few_percent(first):
    compile_batch, asked = compiler(lambda batch: 100 + 10 * batch)
    tried = list(try_batches(compile_batch, first))
    assert 0.9 * 90 <= largest(tried) <= 90
    assert len(asked) <= MOST_TRIES == 4


def test_what_the_line_promises_is_compiled_and_taken_back_where_it_does_not_fit():
    compile_batch, asked = compiler(lambda batch: 100 + batch + (batch > 500) * 500)
    tried = list(try_batches(compile_batch, 100))
    assert not tried[2].compiled.fits
    assert tried[3].batch < tried[2].batch
    assert largest(tried) == max(batch for batch in asked if batch <= 500)


def test_no_batch_is_larger_than_what_is_of_use_or_no_multiple():
    compile_batch, asked = compiler(lambda batch: batch)
    assert largest(try_batches(compile_batch, 16, step=16, most=64)) == 64
    assert all(batch % 16 == 0 for batch in asked)


def test_a_batch_of_one_that_does_not_fit_ends_the_search():
    compile_batch, asked = compiler(lambda batch: 2000)
    assert largest(try_batches(compile_batch, 1)) is None
    assert asked == [1]


def test_one_try_is_one_compilation():
    compile_batch, asked = compiler(lambda batch: batch)
    assert len(list(try_batches(compile_batch, 8, tries=1))) == len(asked) == 1
