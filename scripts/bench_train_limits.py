"""What bounds an update: the rate of its matrix products, and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from sophia_jax.config import TextConfig
from sophia_jax.losses import chunked_token_log_probs, token_log_probs


def kernel_shapes(text: TextConfig) -> list[tuple[int, int]]:
    """In and out of a layer's products."""
    embed, heads = text.hidden_size, text.num_heads * text.head_dim
    keys = text.num_kv_heads * text.head_dim
    mlp = [(embed, text.mlp_size), (embed, text.mlp_size), (text.mlp_size, embed)]
    return [(embed, heads), (embed, keys), (embed, keys), (heads, embed), *mlp]


def num_weights(text: TextConfig) -> int:
    """Entries of the matrices that a token is multiplied with, the head included."""
    layer = sum(ins * outs for ins, outs in kernel_shapes(text))
    return text.num_layers * layer + text.hidden_size * text.vocab_size


def product_rate(text: TextConfig, tokens: int) -> float:
    """FLOP/s of a layer's products over so many tokens, forward and backward."""

    @jax.jit
    def products(inputs, kernels):
        outputs = [x @ w for x, w in zip(inputs, kernels, strict=True)]
        into_inputs = [y @ w.T for y, w in zip(outputs, kernels, strict=True)]
        into_kernels = [x.T @ y for x, y in zip(inputs, outputs, strict=True)]
        return into_inputs, into_kernels

    shapes = kernel_shapes(text)
    inputs = [jnp.ones((tokens, ins)) for ins, _ in shapes]
    kernels = [jnp.ones(shape) for shape in shapes]
    jax.block_until_ready(products(inputs, kernels))
    start = time.perf_counter()
    for _ in range(3):
        jax.block_until_ready(products(inputs, kernels))
    flop = 3 * 2 * tokens * sum(ins * outs for ins, outs in shapes)
    return 3 * flop / (time.perf_counter() - start)


def head_bytes(tokens: int, embed: int, vocab: int, *, chunk: int) -> dict[str, int]:
    """Temporary bytes of value and gradient, compiled and not run."""
    hidden = jax.ShapeDtypeStruct((1, tokens, embed), jnp.float32)
    head = jax.ShapeDtypeStruct((embed, vocab), jnp.float32)
    ids = jax.ShapeDtypeStruct((1, tokens), jnp.int32)

    def chunked(hidden, head, ids):
        return chunked_token_log_probs(hidden, head, ids, chunk=chunk).sum()

    def full(hidden, head, ids):
        return token_log_probs(jnp.einsum("btd,dv->btv", hidden, head), ids).sum()

    def temp_bytes(total: Callable) -> int:
        compiled = jax.jit(jax.value_and_grad(total, (0, 1))).lower(hidden, head, ids)
        return compiled.compile().memory_analysis().temp_size_in_bytes

    return {"chunked": temp_bytes(chunked), "full": temp_bytes(full)}


def peak_memory_bytes() -> int:
    """Of this process alone; `getrusage` would count its parent's before the start."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024
