"""Where the keys of what was drawn stand: in pages, or in one buffer for each slot.

    python scripts/bench_suffixes.py

Times the attention of one decoding step over the samples' own tokens, in one layer, on
lengths as they stand in the middle of the benchmark's workload: with pages (what the
engine does: an open page for each slot, filled ones in chains whose first stand side
by side) and with buffers that are as long as the longest sample, in steps of a page.
Prints both, and their memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from bench_sampling import milliseconds  # noqa: E402

from sophia_jax.config import TextConfig  # noqa: E402
from sophia_jax.generation.readers import (  # noqa: E402
    Part,
    chain_shape,
    make_chains,
    rows_of,
)
from sophia_jax.models.layers import merge_attention, partial_attention  # noqa: E402
from sophia_jax.models.paged import Pages, Rows, chain_attention  # noqa: E402

MOST_TOKENS = 384


@dataclass(frozen=True)
class Benchmark:
    """Time one layer's attention over what was drawn so far."""

    slots: tuple[int, ...] = (32, 256)
    """Sequences that are decoded together."""
    page: int = 64
    """Tokens of a page."""
    repetitions: int = 9
    """Timed calls after the first; the median is printed."""
    seed: int = 0
    """Of the lengths."""


def lengths_now(rng: np.random.Generator, slots: int) -> np.ndarray:
    """Tokens drawn so far by samples that are still running.

    A long sample is met more often than a short one, and anywhere on its way.
    """
    whole = np.exp(rng.normal(np.log(96), 0.7, 100 * slots)).clip(1, MOST_TOKENS)
    met = rng.choice(whole, slots, p=whole / whole.sum())
    return np.ceil(met * rng.random(slots)).astype(int)


def config() -> TextConfig:
    """Heads as in the rollout benchmark, one layer."""
    return TextConfig(4096, 512, 1, 8, 2, 64, 1408, 4096, tied_head=True)


def paged(lengths: np.ndarray, page: int, repetitions: int) -> tuple[float, int]:
    """Milliseconds, and the tokens that there is room for."""
    slots, text = len(lengths), config()
    filled = np.maximum(lengths - 1, 0) // page
    numbers = iter(range(int(filled.sum())))
    own = {
        slot: [Part(next(numbers), 0, page) for _ in range(filled[slot])]
        for slot in range(slots)
    }
    rows = rows_of(own)
    shape = chain_shape(
        rows, num_slots=slots, most_gathered=slots * 8, known=(), spare=1
    )
    most_parts = MOST_TOKENS // page + 1
    table = make_chains(rows, shape, num_slots=slots, most_parts=most_parts)
    pages = Pages.empty(text, int(filled.sum()), page, jnp.float32)
    first = pages.gathered(table.chains.page[:, : table.gathered], stacked=False)
    chains = table.chains.replace(first=first if table.gathered else None)
    open_pages = Rows.empty(text, slots, page, jnp.float32, stacked=False)
    counts = jnp.broadcast_to(jnp.arange(page)[None] <= page // 2, (slots, page))

    def attend(query, pages, open_pages, chains):
        newest = open_pages.read(0, query, counts)
        return merge_attention([newest, chain_attention(query[:, 0], pages, 0, chains)])

    query = jnp.ones((slots, 1, text.num_heads, text.head_dim))
    time = milliseconds(
        attend, query, pages, open_pages, chains, repetitions=repetitions
    )
    return time, (int(filled.sum()) + slots + shape.rows * shape.gathered) * page


def buffered(lengths: np.ndarray, page: int, repetitions: int) -> tuple[float, int]:
    """The same with one buffer for each slot, all as long as the longest needs."""
    slots, text = len(lengths), config()
    width = -(-int(lengths.max()) // page) * page
    seen = jnp.arange(width)[None] < jnp.asarray(lengths)[:, None]
    key = jnp.ones((slots, text.num_kv_heads, text.head_dim, width))
    query = jnp.ones((slots, 1, text.num_heads, text.head_dim))
    time = milliseconds(
        partial_attention,
        query,
        key,
        key.swapaxes(2, 3),
        seen[:, None],
        repetitions=repetitions,
    )
    return time, slots * width


def main() -> None:
    options = tyro.cli(Benchmark)
    rng = np.random.default_rng(options.seed)
    print(f"jax {jax.__version__}, one layer, pages of {options.page} tokens")
    for slots in options.slots:
        lengths = lengths_now(rng, slots)
        print(f"{slots} slots, {lengths.sum()} tokens, the longest {lengths.max()}")
        for name, way in (("pages", paged), ("buffers", buffered)):
            time, room = way(lengths, options.page, options.repetitions)
            print(f"  {name:8s} {time:7.2f} ms, room for {room} tokens")


if __name__ == "__main__":
    main()
