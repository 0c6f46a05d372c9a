"""What lossless early stopping saves, and kept trajectories a second beside peers.

    python scripts/bench_kept.py --success 0.3 0.5 0.7 0.9 --peers none
    python scripts/bench_kept.py --repetitions 5

Reasonings of the rollout benchmark's decoder and prompts, through the library's own
collection, with simulated outcomes: each caption's chance of success is drawn from a
Beta distribution, right reasonings are shorter. What is selected is compared with the
selection from everything. A peer cannot stop: it pays for all tokens, at the rate at
which it samples the first questions in the same repetition.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from rich.console import Console

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX is loaded

from bench_engines import (  # noqa: E402
    OURS,
    ForcedLengths,
    SamplePhase,
    build_engine,
    fastest_rows,
)
from bench_measure import pair_ratios, seconds_of, spread, surroundings  # noqa: E402
from bench_report import spread_text  # noqa: E402
from bench_rollouts import available, rotated  # noqa: E402
from bench_workload import (  # noqa: E402
    ModelSize,
    Phase,
    Workload,
    check_run,
    draw_lengths,
    random_model,
    reasoning_phase,
    text_of,
)

from sophia_jax.config import SophiaConfig  # noqa: E402
from sophia_jax.generation.engine import Run  # noqa: E402
from sophia_jax.models.model import Model  # noqa: E402
from sophia_jax.rewards import Verdict, select_trajectory  # noqa: E402
from sophia_jax.rollouts.reasoning import write_reasonings  # noqa: E402
from sophia_jax.rollouts.selection import select_trajectories  # noqa: E402
from sophia_jax.types import Completion, Item, Request  # noqa: E402

TEMPLATE = "{question} {caption}"


@dataclass(frozen=True)
class Benchmark:
    """Sample reasonings with simulated outcomes, and stop what cannot be kept."""

    workload: Workload = field(default_factory=lambda: Workload(num_questions=48))
    model: ModelSize = field(default_factory=ModelSize)
    success: tuple[float, ...] = (0.5,)
    """Mean chances of a right reasoning, each in (0, 1) and measured on its own."""
    concentration: float = 4.0
    """Of the Beta distribution of the captions' chances: larger is more alike."""
    right_length: float = 0.7
    """Length of a right reasoning, as a share of a wrong one's."""
    peers: tuple[Literal["transformers", "tunix", "none"], ...] = (
        "transformers",
        "tunix",
    )
    """Engines to compare with; none leaves them out."""
    peer_questions: int = 4
    """Questions whose reasonings a peer samples in a repetition."""
    repetitions: int = 1
    """Timed repetitions after the warm-up; the engines take turns in each."""
    slots: int = 256
    """Rows that this project's engine decodes together."""
    batch_rows: tuple[int, ...] = (8, 16, 32)
    """Rows of a peer's batch; the warm-up picks the fastest."""
    mkl_path: Literal["auto", "avx2", "avx512"] = "auto"
    """Code path of torch's matrix library (MKL_CBWR), which may not see this CPU's."""
    json: Path | None = None
    """File for all figures."""


@dataclass(frozen=True)
class Outcomes:
    """How each reasoning would end if it were sampled to its end.

    Attributes:
      right: Bool[question, caption, reasoning].
      lengths: Int[question, caption, reasoning], tokens.
    """

    right: np.ndarray
    lengths: np.ndarray

    def selection(self, threshold: float) -> list[tuple[int, int] | None]:
        """(caption, reasoning) that full sampling keeps of each question."""
        return [
            select_trajectory(right, lengths, threshold=threshold)
            for right, lengths in zip(self.right, self.lengths, strict=True)
        ]


def draw_outcomes(options: Benchmark, success: float) -> Outcomes:
    """Outcomes and lengths; a caption's chance p ~ Beta(cm, c(1 - m))."""
    work = options.workload
    rng = np.random.default_rng([work.seed, 2])
    shape = (work.num_questions, work.num_captions, work.num_reasonings)
    chance = rng.beta(
        options.concentration * success,
        options.concentration * (1 - success),
        (*shape[:2], 1),
    )
    right = rng.random(shape) < chance
    lengths = draw_lengths(
        rng,
        shape,
        median=work.median_length,
        sigma=work.sigma,
        most=work.max_new_tokens,
    )
    shorter = np.maximum(np.rint(options.right_length * lengths), 1).astype(int)
    return Outcomes(right, np.where(right, shorter, lengths))


class SimulatedRun:
    """The completions of a run, with what each says decided beforehand.

    Args:
      run: with forced lengths.
      right: Bool[reasoning] by group.
    """

    def __init__(self, run: Run, right: dict[str, np.ndarray]):
        self._run = run
        self._right = right
        self.cancel = run.cancel

    def __iter__(self) -> SimulatedRun:
        return self

    def __next__(self) -> Completion:
        completion = next(self._run)
        if completion.finish_reason == "cancelled":
            return completion
        verdict = Verdict.WRONG
        if self._right[completion.group][completion.sample]:
            verdict = Verdict.RIGHT
        return replace(completion, text=verdict.value, finish_reason="stop")


class SimulatedReasoner:
    """A `GenerateFn` that costs what the real one does and ends as it is told.

    Args:
      model: that is run.
      slots: that decode together.
      most: tokens of a sample.
    """

    def __init__(self, model: Model, slots: int, most: int):
        self._engine = ForcedLengths(model, slots=slots, max_new_tokens=most)
        self._right: dict[str, np.ndarray] = {}

    def set_outcomes(self, outcomes: Outcomes, items: Sequence[Item]) -> None:
        """How the reasonings of these questions are to end."""
        groups = {
            f"{caption}/{item.id}": (question, caption)
            for question, item in enumerate(items)
            for caption in range(outcomes.right.shape[1])
        }
        self._right = {name: outcomes.right[place] for name, place in groups.items()}
        self._engine.lengths = {
            name: outcomes.lengths[place] for name, place in groups.items()
        }

    def __call__(self, requests: Iterable[Request]) -> SimulatedRun:
        return SimulatedRun(self._engine(requests), self._right)


def say_verdict(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
    """A `RewardFn`: a simulated response says itself whether it is right."""
    return [Verdict(response) for response, _ in pairs]


def questions(phase: Phase, workload: Workload) -> tuple[list[Item], list[dict]]:
    """The questions of a phase, and the rows of their captions."""
    split, by_question = workload.question_tokens, {}
    for group, prompt in phase.prompts.items():
        by_question.setdefault(group.split("/")[0], []).append(prompt)
    items = [
        Item(name, text_of(prompts[0][:split]), "1", images=())
        for name, prompts in by_question.items()
    ]
    captions = [
        {
            "question_id": name,
            "caption": caption,
            "text": text_of(prompt[split:]),
            "policy_log_probs": None,
        }
        for name, prompts in by_question.items()
        for caption, prompt in enumerate(prompts)
    ]
    return items, captions


@dataclass(frozen=True)
class Collected:
    """What one collection with early stopping gave.

    Attributes:
      tokens: of all reasonings, finished or not.
      seconds: for sampling, verifying and stopping.
    """

    tokens: int
    seconds: float


class Collection:
    """Collects the same questions' reasonings, with other outcomes each time.

    Args:
      options: sizes.
      model: that is run.
    """

    def __init__(self, options: Benchmark, model: Model):
        work = options.workload
        self.config = SophiaConfig(
            num_captions=work.num_captions,
            num_reasonings=work.num_reasonings,
            seed=work.seed,
        )
        self.phase = reasoning_phase(work, options.model.vocab_size)
        self._items, self._captions = questions(self.phase, work)
        self._reasoner = SimulatedReasoner(model, options.slots, work.max_new_tokens)

    def __call__(self, outcomes: Outcomes) -> Collected:
        """Sample what early stopping leaves.

        Raises:
          ValueError: it does not select what full sampling selects.
        """
        self._reasoner.set_outcomes(outcomes, self._items)
        rows, seconds = seconds_of(
            lambda: write_reasonings(
                self._reasoner,
                say_verdict,
                self._items,
                self._captions,
                TEMPLATE,
                self.config,
                counts_tokens=True,
            )
        )
        selected = select_trajectories(self._items, rows, None, self.config)
        wanted = outcomes.selection(self.config.threshold)
        for row, kept in zip(selected, wanted, strict=True):
            found = (row["caption"], row["reasoning"]) if row["kept"] else None
            if found != kept:
                raise ValueError(
                    f"{row['question_id']}: expected the selection of full sampling, "
                    f"{kept}, got {found}"
                )
        return Collected(sum(len(row["token_ids"]) for row in rows), seconds)

    def for_peers(self, outcomes: Outcomes, num_questions: int) -> Phase:
        """The first questions' reasonings, each sampled to its end."""
        lengths = outcomes.lengths.reshape(-1, outcomes.lengths.shape[-1])
        phase = replace(
            self.phase, lengths=dict(zip(self.phase.prompts, lengths, strict=True))
        )
        return phase.first(num_questions * outcomes.right[0].size)


def measure(options: Benchmark) -> dict:
    """All figures, by mean success."""
    model = random_model(options.model, options.workload)
    most = options.workload.max_new_tokens
    collect = Collection(options, model)
    peers = {name: build_engine(name, model, most) for name in options.peers}
    drawn = [draw_outcomes(options, success) for success in options.success]
    for success, outcomes in zip(options.success, drawn, strict=True):
        _, seconds = seconds_of(lambda outcomes=outcomes: collect(outcomes))
        print(f"warm-up {OURS}, success {success}: {seconds:.0f} s")
    trial = collect.for_peers(drawn[0], options.peer_questions)
    rows = {
        name: fastest_rows(engine, trial, options.batch_rows)
        for name, engine in peers.items()
    }
    print("".join(f"warm-up {name}: {number} rows\n" for name, number in rows.items()))
    return {
        str(success): one_success(options, collect, outcomes, peers, rows)
        for success, outcomes in zip(options.success, drawn, strict=True)
    }


def one_success(
    options: Benchmark,
    collect: Collection,
    outcomes: Outcomes,
    peers: dict[str, SamplePhase],
    rows: dict[str, int],
) -> dict:
    """The figures of one table of outcomes."""
    phase = collect.for_peers(outcomes, options.peer_questions)
    all_tokens = int(outcomes.lengths.sum())
    selection = outcomes.selection(collect.config.threshold)
    num_kept = sum(kept is not None for kept in selection)
    ours: list[Collected] = []
    kept_per_second: dict[str, list[float]] = {name: [] for name in (OURS, *peers)}
    for repetition in range(options.repetitions):
        for name in rotated((OURS, *peers), repetition):
            if name == OURS:
                ours.append(collect(outcomes))
                seconds = ours[-1].seconds
            else:
                run, used = seconds_of(lambda name=name: peers[name](phase, rows[name]))
                check_run(phase, run, options.model.vocab_size)
                seconds = used * all_tokens / phase.useful_tokens
            kept_per_second[name].append(num_kept / seconds)
            print(f"{repetition} {name}: {num_kept} kept, {seconds:.0f} s for all")
    return {
        "questions": len(outcomes.right),
        "kept": num_kept,
        "tokens": all_tokens,
        "saved": spread([1 - found.tokens / all_tokens for found in ours]),
        "tokens_per_second": spread([found.tokens / found.seconds for found in ours]),
        "kept_per_second": {k: spread(v) for k, v in kept_per_second.items() if v},
        "ours_over_peer": {
            name: pair_ratios(kept_per_second[OURS], kept_per_second[name])
            for name in peers
        },
    }


def show(figures: dict, console: Console) -> None:
    """A paragraph for each mean success: medians, least and largest in brackets."""
    machine, versions = figures["machine"], figures["versions"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
    )
    for success, found in figures["success"].items():
        kept = spread_text(found["kept_per_second"][OURS], ".2f")
        lines = [
            f"mean success {success}: the selection of full sampling for all "
            f"{found['questions']} questions, {found['kept']} kept",
            f"saved {spread_text(found['saved'], '.1%')} of {found['tokens']} tokens",
            f"{spread_text(found['tokens_per_second'], '.0f')} tokens/s, {kept} kept/s",
            *(
                f"kept/s over {peer}'s: {spread_text(ratio, '.1f')}"
                for peer, ratio in found["ours_over_peer"].items()
            ),
        ]
        console.print("\n  ".join(lines), highlight=False, markup=False)


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
    if not options.success or not all(0 < mean < 1 for mean in options.success):
        raise SystemExit(f"success: expected each in (0, 1), got {options.success}")
    if options.mkl_path != "auto":
        os.environ["MKL_CBWR"] = options.mkl_path.upper()  # before its first product
    plain = asdict(options) | {"json": str(options.json)}
    figures = surroundings() | {"options": plain, "success": measure(options)}
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures, Console())


if __name__ == "__main__":
    main()
