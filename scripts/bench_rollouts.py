"""Rollouts a second: this project's engine beside transformers and tunix, on a CPU.

    python scripts/bench_rollouts.py --json runs/rollouts.json

Samples captions and then reasonings, as one SOPHIA round does, with the same random
weights and the same forced length of every sample in each engine, in turn within each
repetition. Only tokens that a sample keeps are counted. Needs the bench extra:
python -m pip install '.[bench]'
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

from bench_engines import (  # noqa: E402
    INSTALL,
    OURS,
    SamplePhase,
    build_engine,
    fastest_rows,
    logit_difference,
    missing_peers,
)
from bench_measure import (  # noqa: E402
    Compilations,
    ProductRate,
    padding_share,
    pair_ratios,
    peak_memory,
    product_parameters,
    products_seconds,
    seconds_of,
    spread,
    surroundings,
)
from bench_report import show  # noqa: E402
from bench_workload import (  # noqa: E402
    ModelSize,
    Phase,
    Workload,
    caption_phase,
    check_run,
    random_model,
    reasoning_phase,
)

from sophia_jax.models.model import Model  # noqa: E402

FULL_BATCHES = 4  # that are sampled for the peak memory


@dataclass(frozen=True)
class Benchmark:
    """Compare engines on the rollouts of one SOPHIA round."""

    workload: Workload = field(default_factory=Workload)
    model: ModelSize = field(default_factory=ModelSize)
    peers: tuple[Literal["transformers", "tunix", "none"], ...] = (
        "transformers",
        "tunix",
    )
    """Engines to compare with; none leaves them out."""
    repetitions: int = 5
    """Timed repetitions after the warm-up; the engines take turns in each."""
    slots: int = 256
    """Rows that this project's engine decodes together."""
    batch_rows: tuple[int, ...] = (8, 16, 32)
    """Rows of a peer's batch; the warm-up picks the fastest for each phase."""
    mkl_path: Literal["auto", "avx2", "avx512"] = "auto"
    """Code path of torch's matrix library (MKL_CBWR), which may not see this CPU's."""
    limit_seconds: float = 3.0
    """Seconds that timing the matrix products takes, twice a repetition."""
    memory: bool = True
    """Run each engine once more, in a process of its own, for its peak memory;
    --no-memory does not."""
    json: Path | None = None
    """File for all figures."""


@dataclass
class Series:
    """What was measured of one engine in one phase.

    Attributes:
      rows: decoded together.
      warm_up_seconds: with compilation and, for a peer, the choice of its rows.
      warm_up_programs: compiled by JAX meanwhile.
      tokens_per_second: useful ones, of each repetition.
      programs: compiled by JAX in each repetition.
      padding_share: of the tokens drawn, in [0, 1).
      steps: decoded in a repetition, by the rows of their batch.
    """

    rows: int
    warm_up_seconds: float
    warm_up_programs: int
    tokens_per_second: list[float] = field(default_factory=list)
    programs: list[int] = field(default_factory=list)
    padding_share: float = 0.0
    steps: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Limit:
    """What this machine's matrix products allow in one repetition.

    Attributes:
      tokens_per_second: in batches of all slots.
      seconds_as_decoded: for our steps, with their batches as they were.
    """

    tokens_per_second: float
    seconds_as_decoded: float


def measure(options: Benchmark, model: Model, phases: list[Phase]) -> dict:
    """Everything but memory, by phase and engine."""
    compilations = Compilations()
    names = (OURS, *options.peers)
    most = options.workload.max_new_tokens
    engines = {name: build_engine(name, model, most) for name in names}
    prompt = next(iter(phases[0].prompts.values()))
    differences = {
        name: logit_difference(model, engines[name], prompt) for name in options.peers
    }
    series = {
        phase.name: {
            name: warm_up(engine, phase, row_choices(name, options), compilations)
            for name, engine in engines.items()
        }
        for phase in phases
    }
    rate = ProductRate(model.params, model.config.text)
    limits: dict[str, list[Limit]] = {phase.name: [] for phase in phases}
    for repetition in range(options.repetitions):
        for phase in phases:
            for name in rotated(names, repetition):
                found = series[phase.name][name]
                repeat(engines[name], phase, found, model, compilations)
                speed = found.tokens_per_second[-1]
                print(f"{repetition} {phase.name} {name}: {speed:.0f} tokens/s")
            limits[phase.name].append(limit(series[phase.name][OURS], rate, options))
    return {
        "logit_difference": differences,
        "phases": {
            phase.name: summary(phase, series[phase.name], limits[phase.name], model)
            for phase in phases
        },
    }


def row_choices(name: str, options: Benchmark) -> tuple[int, ...]:
    return (options.slots,) if name == OURS else options.batch_rows


def limit(ours: Series, rate: ProductRate, options: Benchmark) -> Limit:
    """What the matrix products allow, now."""
    seconds = options.limit_seconds
    steps = ours.steps
    each = seconds / len(steps)
    return Limit(
        tokens_per_second=rate(options.slots, least_seconds=seconds),
        seconds_as_decoded=products_seconds(steps, rate, least_seconds=each),
    )


def rotated(names: tuple[str, ...], by: int) -> tuple[str, ...]:
    """Each engine goes first in turn."""
    by %= len(names)
    return names[by:] + names[:by]


def warm_up(
    engine: SamplePhase,
    phase: Phase,
    choices: tuple[int, ...],
    compilations: Compilations,
) -> Series:
    """Compile, and choose the rows."""
    before = compilations.count
    rows, seconds = seconds_of(lambda: fastest_rows(engine, phase, choices))
    print(f"warm-up {phase.name}: {rows} rows, {seconds:.0f} s")
    return Series(rows, seconds, compilations.count - before)


def repeat(
    engine: SamplePhase,
    phase: Phase,
    series: Series,
    model: Model,
    compilations: Compilations,
) -> None:
    """Sample the phase once more, check what came, and note how fast."""
    before = compilations.count
    run, seconds = seconds_of(lambda: engine(phase, series.rows))
    check_run(phase, run, model.config.text.vocab_size)
    series.tokens_per_second.append(phase.useful_tokens / seconds)
    series.programs.append(compilations.count - before)
    series.padding_share = padding_share(phase.useful_tokens, run.row_steps)
    series.steps = dict(run.steps)


def summary(
    phase: Phase,
    series: dict[str, Series],
    limits: list[Limit],
    model: Model,
) -> dict:
    """The figures of one phase."""
    allowed = [limit.tokens_per_second for limit in limits]
    as_decoded = [phase.useful_tokens / limit.seconds_as_decoded for limit in limits]
    flop_per_token = 2 * product_parameters(model.config.text)
    speeds = {name: found.tokens_per_second for name, found in series.items()}
    return {
        "samples": len(phase.row_lengths),
        "prompt_tokens": phase.prompt_length,
        "useful_tokens": phase.useful_tokens,
        "engines": {
            name: asdict(found) | {"speed": spread(found.tokens_per_second)}
            for name, found in series.items()
        },
        "ours_over_peer": {
            name: pair_ratios(speeds[OURS], speed)
            for name, speed in speeds.items()
            if name != OURS
        },
        "limit": {
            "rows": series[OURS].rows,
            "tokens_per_second": spread(allowed),
            "gflop_per_second": spread(allowed)["median"] * flop_per_token / 1e9,
            "ours_share": pair_ratios(speeds[OURS], allowed),
        },
        "limit_as_decoded": {
            "tokens_per_second": spread(as_decoded),
            "ours_share": pair_ratios(speeds[OURS], as_decoded),
        },
    }


def sample_once(name: str, options: Benchmark, rows: dict[str, int]) -> None:
    """What a process of its own does, so that its memory is the engine's."""
    model = random_model(options.model, options.workload)
    engine = build_engine(name, model, options.workload.max_new_tokens)
    for phase in make_phases(options):
        engine(phase.first(FULL_BATCHES * rows[phase.name]), rows[phase.name])


def measure_memory(options: Benchmark, phases: dict) -> dict[str, float]:
    """Peak memory of each engine in GiB, with the rows that were measured."""
    peaks = {}
    for name in (OURS, *options.peers):
        rows = {phase: phases[phase]["engines"][name]["rows"] for phase in phases}
        peaks[name] = peak_memory(sample_once, name, options, rows)
    return peaks


def make_phases(options: Benchmark) -> list[Phase]:
    vocab_size = options.model.vocab_size
    return [
        caption_phase(options.workload, vocab_size),
        reasoning_phase(options.workload, vocab_size),
    ]


def run(options: Benchmark) -> dict:
    """Measure, and give all figures as they are written to --json."""
    phases = make_phases(options)
    found = measure(options, random_model(options.model, options.workload), phases)
    figures = surroundings() | {"options": plain_options(options)} | found
    if options.memory:
        figures["peak_memory_gib"] = measure_memory(options, found["phases"])
    return figures


def plain_options(options: Benchmark) -> dict:
    plain = asdict(options)
    return plain | {"json": str(plain["json"])}


def available(options: Benchmark) -> Benchmark:
    """The options with those peers alone that are installed, and a line on the rest."""
    wanted = tuple(peer for peer in options.peers if peer != "none")
    missing = missing_peers(wanted)
    for peer in missing:
        print(f"{peer} is not installed and left out; to have it: {INSTALL}")
    return replace(options, peers=tuple(p for p in wanted if p not in missing))


def main() -> None:
    options = available(
        tyro.cli(
            Benchmark,
            description=__doc__,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    )
    if options.repetitions < 1:
        raise SystemExit(f"repetitions: expected > 0, got {options.repetitions}")
    if options.mkl_path != "auto":
        os.environ["MKL_CBWR"] = options.mkl_path.upper()  # before its first product
    figures = run(options)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures, Console())


if __name__ == "__main__":
    main()
