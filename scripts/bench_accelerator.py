"""One GPU or TPU: training step, decoding, attention, and whether results are a CPU's.

    python scripts/bench_accelerator.py --json runs/accelerator.json
    python scripts/bench_accelerator.py --device cpu --tiny   # a minute, to try it

The first device that JAX sees runs a decoder with random weights; a second process
computes the small comparison on the CPU. Model FLOPs are counted from the sizes, of
real tokens alone; bytes are those of the weights at each step, and of the keys and
values that each token reads. Needs the test extra: python -m pip install '.[test]'
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import jax
import tyro
from bench_accelerator_attention import attention_results, measure_attention
from bench_accelerator_check import compare, on_cpu, results, see_cpu_alone
from bench_accelerator_work import (
    Benchmark,
    decode_bytes,
    make_examples,
    make_model,
    sampler,
    step_flop,
    updates,
)
from bench_measure import seconds_of, spread, surroundings

from sophia_jax.models.model import Model
from sophia_jax.planning.hardware import GENERATIONS

# bfloat16 FLOP/s (dense) and bytes/s of memory, by JAX's name of the device.
PEAKS = {
    kind: (each.flops, each.hbm_rate)
    for each in GENERATIONS.values()
    for kind in each.device_kinds
}


def measure_training(model: Model, options: Benchmark) -> dict[str, Any]:
    """Seconds of an update, real tokens a second, FLOP a second."""
    update = updates(model, options)
    losses, seconds = [update()["loss"]], []
    for _ in range(options.repetitions):
        metrics, taken = seconds_of(update)
        losses.append(metrics["loss"])
        seconds.append(taken)
    examples = make_examples(options)
    tokens = sum(example.length for example in examples)
    flop = step_flop(model.config.text, examples)
    return {
        "seconds": spread(seconds),
        "tokens_per_second": spread([tokens / each for each in seconds]),
        "flop": flop,
        "flop_per_second": spread([flop / each for each in seconds]),
        "losses": losses,
    }


def measure_decoding(model: Model, options: Benchmark) -> dict[str, Any]:
    """Tokens and bytes a second of whole runs, the reading of the prompts included."""
    sample = sampler(model, options)
    sample()
    timed = [seconds_of(sample) for _ in range(options.repetitions)]
    tokens = options.slots * options.new_tokens
    rates = [
        decode_bytes(model.config.text, options, sum(run.steps.values())) / seconds
        for run, seconds in timed
    ]
    return {
        "seconds": spread([seconds for _, seconds in timed]),
        "tokens_per_second": spread([tokens / seconds for _, seconds in timed]),
        "bytes_per_second": spread(rates),
    }


def measure(options: Benchmark) -> dict[str, Any]:
    """All figures of one device."""
    device = jax.devices()[0]
    peak_flop, peak_bytes = PEAKS.get(device.device_kind, (None, None))
    tokens = max(options.row_length, options.prompt_tokens)
    model = make_model(options.model, tokens, options.dtype, options.seed)
    decoding = measure_decoding(model, options)
    training = measure_training(model, options)
    if peak_flop is not None:
        training["mfu"] = training["flop_per_second"]["median"] / peak_flop
        decoding["share"] = decoding["bytes_per_second"]["median"] / peak_bytes
    return {
        "device": {"kind": device.device_kind, "platform": device.platform},
        "parameters": sum(array.size for array in jax.tree.leaves(model.params)),
        "training": training,
        "decoding": decoding,
        "attention": measure_attention(
            options,
            on_cpu(
                attention_results,
                "xla",
                options.model.head_dim,
                "float32",
                options.seed,
            ),
        ),
        "comparison": compare(results(options.seed), on_cpu(results, options.seed)),
    }


def table(figures: dict[str, Any]) -> list[str]:
    """What is printed."""
    training, decoding = figures["training"], figures["decoding"]
    apart = figures["comparison"]

    def row(name: str, values: dict[str, float], scale: float, unit: str) -> str:
        numbers = "".join(
            f"{values[key] / scale:>12.4g}" for key in ("median", "min", "max")
        )
        return f"{name:22}{numbers}  {unit}"

    def share(found: dict[str, Any], key: str) -> str:
        return f"{found[key]:.1%}" if key in found else "peak of the device not known"

    return [
        f"{figures['device']['kind']}, {figures['parameters'] / 1e6:.1f}M weights, "
        f"{figures['options']['dtype']}",
        f"{'':22}{'median':>12}{'least':>12}{'most':>12}",
        row("training step", training["seconds"], 1, "s"),
        row("trained", training["tokens_per_second"], 1, "tokens/s"),
        row("model FLOPs", training["flop_per_second"], 1e12, "TFLOP/s"),
        f"{'MFU':22}{share(training, 'mfu'):>12}",
        row("decoded", decoding["tokens_per_second"], 1, "tokens/s"),
        row("read", decoding["bytes_per_second"], 1e9, "GB/s"),
        f"{'of the bandwidth':22}{share(decoding, 'share'):>12}",
        *(
            row(f"attention, {name}", found["seconds"], 1e-3, "ms")
            + f", {found['apart']:.1e} from the CPU's in float32"
            for name, found in figures["attention"].items()
        ),
        f"from the CPU's, in float32: loss {apart['loss']:.1e}, gradient norm "
        f"{apart['gradient_norm']:.1e} apart, {apart['equal_tokens']:.1%} of greedy "
        f"tokens equal: {'agrees' if apart['agrees'] else 'DOES NOT AGREE'}",
        f"{figures['machine']}; "
        + ", ".join(f"{name} {v}" for name, v in figures["versions"].items()),
    ]


def main() -> None:
    options = tyro.cli(Benchmark, description=__doc__).sized()
    if options.device == "cpu":
        see_cpu_alone()
    figures = surroundings() | {"options": asdict(options) | {"json": None}}
    figures |= measure(options)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print("\n".join(table(figures)))
    if not figures["comparison"]["agrees"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
