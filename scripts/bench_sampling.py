"""Two choices of the sampler, measured: top-p without a sort, one number a token.

    python scripts/bench_sampling.py

Draws one token for each row, and prints the milliseconds of a draw: by inversion of the
distribution function (what the engine does) and by Gumbel noise on every logit; and,
for top-p, with the bound found by halving and by a full sort.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from sophia_jax.config import SamplingConfig  # noqa: E402
from sophia_jax.generation.logits import draw_tokens, keep_top_p  # noqa: E402


@dataclass(frozen=True)
class Benchmark:
    """Time the draw of one token for each row."""

    rows: int = 256
    """Sequences."""
    vocabularies: tuple[int, ...] = (4096, 151674)
    """Tokens of each vocabulary."""
    top_p: float = 0.8
    """Nucleus, in (0, 1)."""
    repetitions: int = 7
    """Timed draws after the first; the median is printed."""


def sorted_top_p(logits: jax.Array, p: float) -> jax.Array:
    """The same set as `keep_top_p`, by a sort."""
    probs = jax.nn.softmax(logits, axis=-1)
    ordered = jnp.flip(jnp.sort(probs, axis=-1), axis=-1)
    before = jnp.cumsum(ordered, axis=-1) - ordered
    bound = jnp.min(jnp.where(before < p, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(probs >= bound, logits, -jnp.inf)


def gumbel_tokens(keys: jax.Array, logits: jax.Array) -> jax.Array:
    """Tokens by noise on every logit."""
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[-1:]))(keys)
    return jnp.argmax(logits + noise, axis=-1)


def milliseconds(call: Callable, *arguments: jax.Array, repetitions: int) -> float:
    """Median time of a compiled call."""
    compiled = jax.jit(call)
    jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


def measure(options: Benchmark, vocab: int) -> dict[str, float]:
    """Milliseconds by way of sampling."""
    logits = 2 * jax.random.normal(jax.random.key(0), (options.rows, vocab))
    keys = jax.random.split(jax.random.key(1), options.rows)
    plain = SamplingConfig(1)
    times = {
        "draw, one number a token": (
            lambda keys, logits: draw_tokens(keys, logits, plain),
            keys,
            logits,
        ),
        "draw, Gumbel noise": (gumbel_tokens, keys, logits),
        "top-p by halving": (lambda x: keep_top_p(x, options.top_p), logits),
        "top-p by a sort": (lambda x: sorted_top_p(x, options.top_p), logits),
    }
    return {
        name: milliseconds(*call, repetitions=options.repetitions)
        for name, call in times.items()
    }


def main() -> None:
    options = tyro.cli(Benchmark)
    for vocab in options.vocabularies:
        print(f"{options.rows} rows, {vocab} tokens, jax {jax.__version__}")
        for name, value in measure(options, vocab).items():
            print(f"  {name:28s} {value:9.2f} ms")


if __name__ == "__main__":
    main()
