"""Whether an accelerator computes what a CPU does, for `bench_accelerator.py`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from bench_accelerator_work import TINY, Benchmark, make_model, sampler, updates
from bench_workload import ModelSize

COMPARED = replace(TINY, hidden_size=256, mlp_size=512)
LOSS_APART, NORM_APART = 1e-4, 1e-3  # relative, in float32, beyond which it is said


def results(seed: int, size: ModelSize = COMPARED) -> dict[str, Any]:
    """What must not depend on the device: two updates and greedy tokens, in float32."""
    options = replace(Benchmark(tiny=True, seed=seed).sized(), model=size)
    with jax.default_matmul_precision("highest"):
        model = make_model(size, options.row_length, "float32", seed)
        update = updates(model, options)
        steps = [update(), update()]
        run = sampler(model, options, temperature=0.0)()
    tokens = [run.token_ids[where].tolist() for where in sorted(run.token_ids)]
    return {"updates": steps, "greedy_tokens": tokens}


def on_cpu(call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call gives in a process of its own, which sees no accelerator."""
    with multiprocessing.get_context("spawn").Pool(1, see_cpu_alone) as pool:
        return pool.apply(call, arguments)


def see_cpu_alone() -> None:
    jax.config.update("jax_platforms", "cpu")


def compare(here: dict[str, Any], cpu: dict[str, Any]) -> dict[str, Any]:
    """How far apart they are, and whether that is more than rounding."""
    apart = {
        name: max(
            abs(ours[name] / theirs[name] - 1)
            for ours, theirs in zip(here["updates"], cpu["updates"], strict=True)
        )
        for name in ("loss", "gradient_norm")
    }
    equal = np.mean(np.array(here["greedy_tokens"]) == np.array(cpu["greedy_tokens"]))
    agrees = apart["loss"] <= LOSS_APART and apart["gradient_norm"] <= NORM_APART
    return apart | {"equal_tokens": float(equal), "agrees": bool(agrees and equal == 1)}
