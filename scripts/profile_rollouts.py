"""Where the time of rollouts goes, on the benchmark's workload.

    python scripts/profile_rollouts.py --trace runs/trace

Samples each phase once to compile and once to measure, waiting for every program, and
prints a table: reading prompts, decoding, sampling within it, pages, host, verifier.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tyro

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

import jax  # noqa: E402
from bench_engines import ForcedLengths  # noqa: E402
from bench_workload import (  # noqa: E402
    ModelSize,
    Phase,
    Workload,
    caption_phase,
    random_model,
    reasoning_phase,
)

from sophia_jax.config import SamplingConfig  # noqa: E402
from sophia_jax.generation import engine as engine_module  # noqa: E402
from sophia_jax.generation.decode import Drawn  # noqa: E402
from sophia_jax.generation.logits import draw_tokens  # noqa: E402
from sophia_jax.generation.scheduler import Work  # noqa: E402
from sophia_jax.rewards import AnswerVerifier  # noqa: E402

DRAWS = 20  # that are timed together


@dataclass(frozen=True)
class Profile:
    """Say where the time of rollouts goes."""

    workload: Workload = field(default_factory=Workload)
    model: ModelSize = field(default_factory=ModelSize)
    slots: int = 256
    """Sequences that are decoded together."""
    trace: Path | None = None
    """Folder for a trace of the second sampling, for XProf or Perfetto."""


class TimedLane(engine_module.Lane):
    """A lane that waits for each program and notes how long it took.

    Attributes:
      seconds: by part.
      steps: decoding steps by number of slots.
    """

    seconds: Counter[str] = Counter()
    steps: Counter[int] = Counter()

    def close_pages(self, work: Work) -> None:
        with self._timed("pages"):
            super().close_pages(work)
            jax.block_until_ready((self._pages, self._open_pages))

    def read_prompts(self, work: Work) -> None:
        with self._timed("prompts"):
            super().read_prompts(work)
            jax.block_until_ready(self._pages)

    def decode(self, work: Work) -> Drawn:
        with self._timed("decoding"):
            drawn = jax.block_until_ready(super().decode(work))
        self.steps[work.num_slots] += int(drawn.num_steps)
        return drawn

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - start


class TimedEngine(ForcedLengths):
    """An engine of timed lanes."""

    def lanes(self, stops: dict[str, int]) -> list[TimedLane]:
        return [TimedLane(self, stops)]


def sampling_seconds(steps: Counter[int], vocab_size: int) -> float:
    """What drawing alone takes, for so many steps of so many slots."""
    draw = jax.jit(lambda keys, logits: draw_tokens(keys, logits, SamplingConfig(1)))
    total = 0.0
    for slots, number in steps.items():
        keys = jax.random.split(jax.random.key(0), slots)
        logits = jax.random.normal(jax.random.key(1), (slots, vocab_size))
        jax.block_until_ready(draw(keys, logits))
        start = time.perf_counter()
        jax.block_until_ready([draw(keys, logits) for _ in range(DRAWS)])
        total += number * (time.perf_counter() - start) / DRAWS
    return total


def verifier_seconds(number: int) -> float:
    """What judging so many plain answers takes."""
    pairs = [(f"So it is \\boxed{{{n}}}.", str(n % 7)) for n in range(number)]
    with AnswerVerifier() as verifier:
        start = time.perf_counter()
        verifier.verify(pairs)
        return time.perf_counter() - start


def sample(engine: TimedEngine, phase: Phase) -> float:
    """Sample a phase; gives its seconds."""
    start = time.perf_counter()
    for _ in engine(phase.requests()):
        pass
    return time.perf_counter() - start


def profile(engine: TimedEngine, phase: Phase, options: Profile) -> dict[str, float]:
    """Seconds by part."""
    engine.lengths = phase.lengths
    sample(engine, phase)
    TimedLane.seconds.clear()
    TimedLane.steps.clear()
    trace = contextlib.nullcontext()
    if options.trace is not None:
        trace = jax.profiler.trace(str(options.trace / phase.name))
    with trace:
        total = sample(engine, phase)
    parts = dict(TimedLane.seconds)
    host = total - sum(parts.values())
    sampling = sampling_seconds(TimedLane.steps, options.model.vocab_size)
    decoding = parts.pop("decoding") - sampling
    verifier = verifier_seconds(len(phase.row_lengths))
    parts |= {"decoding": decoding, "sampling": sampling}
    return parts | {"host": host, "verifier": verifier}


def main() -> None:
    options = tyro.cli(Profile)
    model = random_model(options.model, options.workload)
    engine = TimedEngine(
        model, slots=options.slots, max_new_tokens=options.workload.max_new_tokens
    )
    for make in (caption_phase, reasoning_phase):
        phase = make(options.workload, options.model.vocab_size)
        parts = profile(engine, phase, options)
        total = sum(parts.values())
        print(f"{phase.name}: {phase.useful_tokens} tokens in {total:.2f} s")
        for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
            print(f"  {name:10s} {seconds:7.2f} s {seconds / total:6.1%}")


if __name__ == "__main__":
    main()
