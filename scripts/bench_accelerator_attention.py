"""The backends of attention that a device has, for `bench_accelerator.py`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_accelerator_work import Benchmark
from bench_measure import seconds_of, spread
from measure_attention import segments

from sophia_jax.models.attention_backends import causal_attention
from sophia_jax.types import Array

BACKENDS = {"gpu": ("cudnn", "xla"), "tpu": ("splash", "xla"), "cpu": ("xla",)}
COMPARED = (2, 384, 4, 2)  # rows, tokens, heads of queries and of keys


def make_arrays(
    shape: tuple[int, int, int, int], head_dim: int, seed: int
) -> tuple[list[Array], Array]:
    """Query, key, value and the output's gradient, in bfloat16; ids of segments."""
    rows, tokens, heads, kv_heads = shape
    keys = jax.random.split(jax.random.key(seed), 4)
    arrays = [
        jax.random.normal(key, (rows, tokens, number, head_dim), jnp.bfloat16)
        for key, number in zip(keys, (heads, kv_heads, kv_heads, heads), strict=True)
    ]
    return arrays, jnp.asarray(segments(rows, tokens))


def attend_and_back(backend: str, arrays: list[Array], ids: Array) -> list[Array]:
    """The output, and the gradients of query, key and value."""

    def attend(query: Array, key: Array, value: Array) -> Array:
        return causal_attention(query, key, value, ids, backend=backend)

    out, back = jax.vjp(attend, *arrays[:3])
    return [out, *back(arrays[3])]


attend_and_back_compiled = jax.jit(attend_and_back, static_argnums=0)


def attention_results(
    backend: str, head_dim: int, dtype: str, seed: int
) -> list[np.ndarray]:
    """What a backend makes of a small comparison, in float32."""
    arrays, ids = make_arrays(COMPARED, head_dim, seed)
    arrays = [array.astype(dtype) for array in arrays]
    found = attend_and_back_compiled(backend, arrays, ids)
    return [np.asarray(each, np.float32) for each in found]


def apart(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The largest difference, relative to the largest number of its array."""
    return max(
        float(np.max(np.abs(our - their)) / np.max(np.abs(their)))
        for our, their in zip(ours, theirs, strict=True)
    )


def measure_attention(
    options: Benchmark, cpu: list[np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Seconds of each backend on an update's rows, and how far it is from the CPU.

    Args:
      options: whose rows, heads and dtype are taken.
      cpu: `attention_results` of a CPU in float32.
    """
    size, found = options.model, {}
    rows = max(1, options.examples * options.example_tokens // options.row_length)
    shape = (rows, options.row_length, size.num_heads, size.num_kv_heads)
    arrays, ids = make_arrays(shape, size.head_dim, options.seed)
    arrays = [array.astype(options.dtype) for array in arrays]
    for backend in BACKENDS[jax.default_backend()]:
        if backend == "cudnn" and options.dtype == "float32":
            continue  # which it does not take

        def run(backend: str = backend) -> list[Array]:
            return jax.block_until_ready(attend_and_back_compiled(backend, arrays, ids))

        run()
        seconds = [seconds_of(run)[1] for _ in range(options.repetitions)]
        ours = attention_results(backend, size.head_dim, options.dtype, options.seed)
        found[backend] = {"seconds": spread(seconds), "apart": apart(ours, cpu)}
    return found
