"""What the rollout benchmark measures beside seconds, and its arithmetic."""

from __future__ import annotations

import multiprocessing
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.config import TextConfig
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.types import Array

COMPILED = "/jax/core/compile/backend_compile_duration"
PEER_PACKAGES = ("torch", "google-tunix", "jaxlib")


class Compilations:
    """Counts the programs that JAX compiles in this process from now on."""

    def __init__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._notice)

    def _notice(self, event: str, seconds: float, **_: Any) -> None:
        self.count += event == COMPILED


def seconds_of(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {
        "median": float(np.median(values)),
        "min": float(np.min(values)),
        "max": float(np.max(values)),
    }


def pair_ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Spread of ours / theirs, taken within each repetition.

    A machine that slows down for a while slows both sides of a pair.
    """
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def padding_share(useful_tokens: int, row_steps: int) -> float:
    """Share of the drawn tokens that were nobody's."""
    return 1 - useful_tokens / row_steps


def product_parameters(text: TextConfig) -> int:
    """Parameters in the matrix products of one token, the head among them."""
    heads = 2 * text.num_heads * text.head_dim  # query, out
    kv_heads = 2 * text.num_kv_heads * text.head_dim  # key, value
    layer = text.hidden_size * (heads + kv_heads + 3 * text.mlp_size)
    return text.num_layers * layer + text.hidden_size * text.vocab_size


def products(layers: list[dict], head: Array, x: Array) -> Array:
    """Each weight's product once, in the model's order, and nothing that costs more."""
    for layer in layers:
        key_value = x @ layer["key"] + x @ layer["value"]
        query = x @ layer["query"]
        x += (
            query + jnp.tile(key_value, query.shape[1] // key_value.shape[1])
        ) @ layer["out"]
        x += (x @ layer["gate"] + x @ layer["up"]) @ layer["down"]
    return x @ head


class ProductRate:
    """How many tokens a second the matrix products alone allow on this machine."""

    def __init__(self, params: dict, text: TextConfig):
        stacked = params["decoder"]["layers"]
        names = ("query", "key", "value", "out", "gate", "up", "down")
        self._layers = [
            {name: stacked[name]["kernel"][index] for name in names}
            for index in range(text.num_layers)
        ]
        self._head = jnp.asarray(params["decoder"]["embedding"]["embedding"].T)
        self._run = jax.jit(products)

    def __call__(self, rows: int, *, least_seconds: float) -> float:
        """Tokens a second for batches of `rows`: median over `least_seconds`."""
        x = jnp.ones((rows, len(self._head)), self._head.dtype)

        def run() -> Array:
            return self._run(self._layers, self._head, x).block_until_ready()

        run()
        seconds: list[float] = []
        while sum(seconds) < least_seconds:
            seconds.append(seconds_of(run)[1])
        return rows / float(np.median(seconds))


def products_seconds(
    steps: Mapping[int, int], rate: ProductRate, *, least_seconds: float
) -> float:
    """What the products alone of some decoding steps take.

    Args:
      steps: by the rows of their batch.
      rate: of the machine.
      least_seconds: for the timing of each number of rows.
    """
    return sum(
        number * rows / rate(rows, least_seconds=least_seconds)
        for rows, number in steps.items()
    )


def peak_memory(call: Callable, *arguments: Any) -> float:
    """Peak resident set, in GiB, of a fresh process that makes a call and nothing else.

    Imports and weights are in it. Looked at every 20 ms.

    Raises:
      RuntimeError: the process failed.
    """
    import psutil

    child = multiprocessing.get_context("spawn").Process(target=call, args=arguments)
    child.start()
    peak, process = 0, psutil.Process(child.pid)
    while child.is_alive():
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        child.join(0.02)
    child.join()
    if child.exitcode:
        raise RuntimeError(f"peak memory: the process ended with {child.exitcode}")
    return peak / 2**30


def surroundings() -> dict:
    """Versions and the machine."""
    found = versions()
    for package in PEER_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {"versions": found, "machine": machine() | {"cpu": cpu_model()}}


def cpu_model() -> str:
    """The processor as Linux names it; elsewhere, unknown.

    Cloud machines are called "AMD EPYC" from one generation to the next; family and
    model tell them apart.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(re.split(r"\s*: ?", line, maxsplit=1) for line in lines if line)
    name = fields.get("model name", "unknown")
    if {"cpu family", "model"} <= fields.keys():
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name
