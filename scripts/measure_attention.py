"""Packed attention beside the dense form, by row length and block, on this machine.

    python scripts/measure_attention.py --tokens 4096 --row-lengths 64 128 512 2048

Prints seconds of value and gradient for one layer (the least of the repetitions) on
rows of segments with lognormal lengths (median 250 tokens, or a quarter of a row).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from sophia_jax.models.attention_backends import causal_mask
from sophia_jax.models.layers import attention
from sophia_jax.models.packed_attention import packed_attention

HEADS = (8, 2, 2)  # of queries, keys and values
HEAD_DIM = 64


@dataclass(frozen=True)
class Measurement:
    """Attention of one layer, forward and backward."""

    tokens: int = 4096
    """Tokens in all rows together."""
    row_lengths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    """Tokens in a row; each is a row of the table."""
    blocks: tuple[int, ...] = (32, 64, 128)
    """Tokens in a block; each is a column."""
    repetitions: int = 7
    """Of which the fastest is printed."""


def segments(rows: int, length: int) -> np.ndarray:
    """Ids of segments that fill the rows from the left; the last is cut."""
    rng = np.random.default_rng(0)
    median = min(250, length / 4)
    ids = np.zeros((rows, length), np.int32)
    for row in ids:
        ends = np.cumsum(np.ceil(rng.lognormal(np.log(median), 0.3, length)))
        row[:] = 1 + np.searchsorted(ends, np.arange(length), side="right")
    return ids


def seconds(attend: Callable, arrays: tuple[jax.Array, ...], repetitions: int) -> float:
    """The least time of value and gradient, once compiled."""
    gradient = jax.jit(jax.value_and_grad(lambda *x: attend(*x).sum(), (0, 1, 2)))
    jax.block_until_ready(gradient(*arrays))
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(gradient(*arrays))
        times.append(time.perf_counter() - start)
    return min(times)


def measure(length: int, options: Measurement) -> list[float]:
    """Seconds of the dense form, and of each block."""
    rows = max(1, options.tokens // length)
    ids = jnp.asarray(segments(rows, length))
    arrays = tuple(
        jax.random.normal(jax.random.key(n), (rows, length, heads, HEAD_DIM))
        for n, heads in enumerate(HEADS)
    )
    forms = [lambda *x: attention(*x, causal_mask(ids))]
    forms += [
        lambda *x, block=block: packed_attention(*x, ids, block=block)
        for block in options.blocks
    ]
    return [seconds(form, arrays, options.repetitions) for form in forms]


def main() -> None:
    options = tyro.cli(Measurement, description=__doc__)
    names = ["row", "dense", *(f"block {block}" for block in options.blocks)]
    print("".join(f"{name:>11}" for name in names))
    for length in options.row_lengths:
        found = measure(length, options)
        print(f"{length:>11}" + "".join(f"{s:>11.4f}" for s in found), flush=True)


if __name__ == "__main__":
    main()
