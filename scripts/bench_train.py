"""Updates on a CPU: this project's training step beside transformers and torch.

    python scripts/bench_train.py --json runs/train.json

Both start from the same random weights, see the same examples in the same order and
minimise the same loss with AdamW, in turn within each repetition. Only real tokens are
counted. Needs the test extra: python -m pip install '.[test]'
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded


from bench_train_engines import (  # noqa: E402
    TEXT,
    Update,
    Workload,
    make_examples,
    our_fill,
    our_updates,
    pack,
    padded_fill,
    random_model,
    torch_updates,
)
from bench_train_limits import (  # noqa: E402
    head_bytes,
    num_weights,
    peak_memory_bytes,
    product_rate,
)

from sophia_jax.config import ModelConfig  # noqa: E402
from sophia_jax.data.packing import Example  # noqa: E402
from sophia_jax.training.step import update_learning  # noqa: E402

LARGE_HEAD = (8192, 512, 151_674)  # tokens, embed, vocab: of the compile-only figure


@dataclass
class Series:
    """What was measured of one engine: of each timed update its seconds and loss."""

    parts: int
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def seconds_of(update: Update, examples: Sequence[Example]) -> tuple[float, float]:
    """How long an update takes, and its loss."""
    start = time.perf_counter()
    loss = update(examples)
    return time.perf_counter() - start, loss


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
    }


def measure(options: Workload) -> dict:
    """Both engines in turn, from the same weights."""
    model = random_model(ModelConfig(TEXT), options.seed)
    warm_up, *batches = make_examples(options, TEXT.vocab_size)
    ours, theirs = our_updates(model, options), {}
    for parts in options.torch_micro_batches:
        theirs[parts] = torch_updates(model, options, parts)
    first = {"ours": ours(warm_up)}
    times = {parts: seconds_of(update, warm_up) for parts, update in theirs.items()}
    best = min(times, key=lambda parts: times[parts][0])
    first["torch"] = times[best][1]
    for batch in batches:  # compile every shape; the timed updates then compile none
        ours(batch)
    programs = update_learning._cache_size()
    series = {"ours": Series(options.micro_batches), "torch": Series(best)}
    rates = []
    for number, batch in enumerate(batches):
        turn = [("ours", ours), ("torch", theirs[best])]
        for name, update in turn[:: 1 if number % 2 else -1]:
            seconds, loss = seconds_of(update, batch)
            series[name].seconds.append(seconds)
            series[name].losses.append(loss)
            print(f"{number} {name}: {seconds:.2f} s", flush=True)
        rates.append(product_rate(TEXT, pack(batch, options).token_ids[0].size))
    return {
        "first_loss": first,
        "programs": programs,
        "programs_while_timed": update_learning._cache_size() - programs,
        "torch_warm_up_seconds": {parts: t for parts, (t, _) in times.items()},
        **compare(series, batches, rates, options),
    }


def compare(
    series: dict[str, Series],
    batches: Sequence[Sequence[Example]],
    rates: Sequence[float],
    options: Workload,
) -> dict:
    """Real tokens a second, their ratio, and the shares of padding and of the limit."""
    tokens = [sum(example.length for example in batch) for batch in batches]
    speeds = {
        name: [count / s for count, s in zip(tokens, found.seconds, strict=True)]
        for name, found in series.items()
    }
    pairs = zip(speeds["ours"], speeds["torch"], strict=True)
    flop = 3 * 2 * num_weights(TEXT)
    limits = zip(speeds["ours"], rates, strict=True)
    return {
        "series": {name: asdict(found) for name, found in series.items()},
        "tokens_per_second": {name: spread(speed) for name, speed in speeds.items()},
        "ours_over_torch": spread([ours / theirs for ours, theirs in pairs]),
        "fill": {
            "ours": spread([our_fill(batch, options) for batch in batches]),
            "torch": spread(
                [padded_fill(batch, series["torch"].parts) for batch in batches]
            ),
        },
        "gflop_per_second": spread([rate / 1e9 for rate in rates]),
        "share_of_products": spread([speed * flop / rate for speed, rate in limits]),
    }


def peak_gib(engine: str, parts: int, options: Workload) -> float:
    """Peak memory of a process that makes two updates with one engine alone."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_gib_here, (engine, parts, options))


def _peak_gib_here(engine: str, parts: int, options: Workload) -> float:
    model = random_model(ModelConfig(TEXT), options.seed)
    make = {
        "ours": our_updates,
        "torch": functools.partial(torch_updates, parts=parts),
    }[engine]
    update = make(model, options)
    for batch in make_examples(options, TEXT.vocab_size)[:2]:
        update(batch)
    return peak_memory_bytes() / 2**30


def surroundings() -> dict:
    """Versions, the processor's name and its cores."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    found = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return {
        "versions": {p: version(p) for p in ("jax", "flax", "torch", "transformers")},
        "processor": found[0] if found else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
    }


def table(figures: dict) -> list[str]:
    """What is printed."""
    speed, fill = figures["tokens_per_second"], figures["fill"]
    memory, head = figures["peak_gib"], figures["head_bytes"]
    losses, ratio = figures["first_loss"], figures["ours_over_torch"]
    apart = abs(losses["ours"] / losses["torch"] - 1)
    rows = [
        f"{'':8}{'tokens/s':>10}{'least':>8}{'most':>8}{'real':>8}{'peak GiB':>10}",
        *(
            f"{name:8}{speed[name]['median']:>10.0f}{speed[name]['least']:>8.0f}"
            f"{speed[name]['most']:>8.0f}{fill[name]['median']:>8.1%}"
            f"{memory[name]:>10.2f}"
            for name in ("ours", "torch")
        ),
        f"ours / torch: {ratio['median']:.2f} ({ratio['least']:.2f} to "
        f"{ratio['most']:.2f})",
        f"least share of real tokens in an update: {fill['ours']['least']:.1%}",
        f"loss of the first update: {losses['ours']:.4f} and {losses['torch']:.4f}, "
        f"{apart:.1e} apart",
        f"share of what matrix products alone allow: "
        f"{figures['share_of_products']['median']:.0%} of "
        f"{figures['gflop_per_second']['median']:.0f} GFLOP/s",
        f"programs compiled: {figures['programs']}, while timed: "
        f"{figures['programs_while_timed']}",
        "head of {1} x {2} over {0} tokens, MiB: ".format(*LARGE_HEAD)
        + f"{head['chunked'] / 2**20:.0f} in chunks, {head['full'] / 2**20:.0f} whole",
        f"{figures['processor']}, {figures['cores']} cores; "
        + ", ".join(f"{name} {v}" for name, v in figures["versions"].items()),
    ]
    return rows


def main() -> None:
    options = tyro.cli(Workload, description=__doc__)
    if options.repetitions < 1:
        raise SystemExit(f"repetitions: expected > 0, got {options.repetitions}")
    figures = surroundings() | {"options": asdict(options) | {"json": None}}
    figures |= measure(options)
    figures["head_bytes"] = head_bytes(*LARGE_HEAD, chunk=256)
    figures["peak_gib"] = {
        name: peak_gib(name, figures["series"][name]["parts"], options)
        for name in ("ours", "torch")
    }
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    print("\n".join(table(figures)))


if __name__ == "__main__":
    main()
