"""The comparison, seed by seed and arm by arm; what is there is not made again."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from sophia_jax.recipes.compare.arms import ARMS, Arm
from sophia_jax.recipes.compare.laboratory import Laboratory, prepare
from sophia_jax.recipes.compare.learning import learn, shares
from sophia_jax.recipes.compare.outcomes import Kept
from sophia_jax.recipes.compare.scoring import (
    MEASURES,
    is_scored,
    measures,
    scored_rows,
)
from sophia_jax.recipes.compare.sizes import CompareConfig
from sophia_jax.recipes.compare.summary import summarize_arms
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.program_memory import forget_programs
from sophia_jax.recipes.run_folder import read_seconds, stopwatch, write_json
from sophia_jax.recipes.side_by_side import side_by_side
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.types import InputError, RewardFn, Track, untracked

__all__ = ["chosen_arms", "compare"]


def compare(
    folder: Path,
    config: CompareConfig,
    *,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Run every arm of every seed that `folder` does not hold yet.

    Args:
      folder: of the run.
      config: seeds, arms and sizes.
      track: shows the progress of long stages.
      say: prints a line for each arm.

    Returns:
      What is written to `summary.json`.
    """
    arms = chosen_arms(config.arms)
    clock = _Clock(folder, config, arms, say)
    per_seed, learnt = [], []
    with AnswerVerifier() as verifier:
        verify = one_at_a_time(verifier.verify)
        for seed in config.seeds:
            found = _run_seed(
                folder / f"seed-{seed}", config, seed, arms, verify, clock, track
            )
            per_seed.append(found[0])
            learnt.append(found[1])
    scores = {arm.name: [seed[arm.name] for seed in per_seed] for arm in arms}
    summary = {
        "size": config.name,
        "missing": config.missing,
        "seeds": list(config.seeds),
        **summarize_arms(arms, scores, learnt),
        "measures": MEASURES,
        "seconds": _seconds(folder, config.seeds),
        "versions": versions(),
        "machine": machine(),
        "settings": _settings(config),
    }
    write_json(folder / "summary.json", summary)
    return summary


def one_at_a_time(verify: RewardFn) -> RewardFn:
    """The same, for threads that ask side by side."""
    lock = threading.Lock()

    def locked(pairs: Sequence[tuple[str, str]]) -> Sequence:
        with lock:
            return verify(pairs)

    return locked


def chosen_arms(names: Sequence[str] | None) -> tuple[Arm, ...]:
    """Arms by name, in the order of the table.

    Args:
      names: that are wanted; None for all.

    Raises:
      InputError: there is no such arm, or one starts from an arm that is not among
        them.
    """
    known = {arm.name for arm in ARMS}
    wanted = known if names is None else set(names)
    if unknown := sorted(wanted - known):
        raise InputError(
            f"arms: expected some of {', '.join(arm.name for arm in ARMS)}, "
            f"got {unknown[0]}"
        )
    arms = tuple(arm for arm in ARMS if arm.name in wanted)
    for arm in arms:
        if arm.after is not None and arm.after not in wanted:
            raise InputError(
                f"arms: expected {arm.after}, from which {arm.name} starts, got "
                f"{', '.join(sorted(wanted))}"
            )
    return arms


def _run_seed(
    folder: Path,
    config: CompareConfig,
    seed: int,
    arms: Sequence[Arm],
    verify: RewardFn,
    clock: _Clock,
    track: Track,
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict]]:
    """Measures of each arm's answers, and what each has learnt from."""
    captioners = sorted({arm.captions for arm in arms if arm.rule is not None})
    with clock.shared(seed):
        lab = prepare(folder, config, seed, captioners, verify, track=track)
    forget_programs()
    kept, yields = shares(lab, arms)
    found: dict[str, dict[str, np.ndarray]] = {}
    for pair in in_pairs(arms):
        with stopwatch(folder, "arms"):
            tasks = [
                functools.partial(_run_arm, lab, arm, kept.get(arm.name))
                for arm in pair
            ]
            results = side_by_side(track, *tasks)
        found |= {arm.name: each for arm, each in zip(pair, results, strict=True)}
        for arm in pair:
            clock.tick(seed, arm.name, found[arm.name])
        forget_programs()
    learnt = {
        name: {
            "kept": yields[name],
            "questions": len(each),
            "trajectories": sum(map(len, each.values())),
        }
        for name, each in kept.items()
    }
    return found, learnt


def in_pairs(arms: Sequence[Arm]) -> list[tuple[Arm, ...]]:
    """Two arms at a time, in their order; none beside the one that it starts from."""
    pairs: list[tuple[Arm, ...]] = []
    for arm in arms:
        alone = pairs and len(pairs[-1]) == 1
        if alone and arm.after != pairs[-1][0].name:
            pairs[-1] = (pairs[-1][0], arm)
        else:
            pairs.append((arm,))
    return pairs


def _run_arm(
    lab: Laboratory, arm: Arm, share: Kept | None, track: Track
) -> dict[str, np.ndarray]:
    policy = learn(lab, arm, share, track)
    return measures(scored_rows(lab, arm.name, policy), lab.held_out)


class _Clock:
    """Says what came of each arm, and how long those that were missing will take."""

    def __init__(self, folder: Path, config: CompareConfig, arms: Sequence[Arm], say):
        names = [(seed, arm.name) for seed in config.seeds for arm in arms]
        self._missing = {
            (seed, name)
            for seed, name in names
            if not is_scored(folder / f"seed-{seed}" / "arms" / name)
        }
        self._total, self._say = len(self._missing), say
        self._shared: dict[int, float] = {}
        self._start = time.monotonic()

    @contextlib.contextmanager
    def shared(self, seed: int) -> Iterator[None]:
        """What the arms of a seed share is being made."""
        start = time.monotonic()
        yield
        self._shared[seed] = time.monotonic() - start

    def tick(self, seed: int, name: str, found: Mapping[str, np.ndarray]) -> None:
        line = (
            f"seed {seed:<5} {name:<18} pass@1 {found['pass@1'].mean():6.1%}, captions "
            f"{found['caption_accuracy'].mean():6.1%}"
        )
        if (seed, name) in self._missing:
            self._missing.remove((seed, name))
            line += f"; {len(self._missing)} to come, about {self._left() / 60:.0f} min"
        self._say(line)

    def _left(self) -> float:
        """Seconds: of the missing arms, and of what those of later seeds share."""
        shared = sum(self._shared.values())
        arms = time.monotonic() - self._start - shared
        seeds = {seed for seed, _ in self._missing} - self._shared.keys()
        each = arms / (self._total - len(self._missing))
        return each * len(self._missing) + shared / len(self._shared) * len(seeds)


def _seconds(folder: Path, seeds: Sequence[int]) -> dict[str, float]:
    """Wall-clock time of each stage, over all seeds and tries."""
    total: dict[str, float] = {}
    for seed in seeds:
        for stage, seconds in read_seconds(folder / f"seed-{seed}").items():
            total[stage] = total.get(stage, 0.0) + seconds
    return total


def _settings(config: CompareConfig) -> dict:
    lab = config.laboratory
    return {
        "seeds": list(config.seeds),
        "questions": lab.data.train,
        "held_out": lab.data.held_out,
        "captions": lab.sophia.num_captions,
        "reasonings": lab.sophia.num_reasonings,
        "threshold": lab.sophia.threshold,
        "updates": lab.update.optimizer.num_steps,
        "batch_size": lab.update.batch_size,
        "learning_rate": lab.update.optimizer.learning_rate,
        "mixture": dataclasses.asdict(lab.mixture),
    }
