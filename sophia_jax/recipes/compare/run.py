"""The comparison, seed by seed and arm by arm; what is there is not made again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sophia_jax.recipes.compare.arms import ARMS, Arm
from sophia_jax.recipes.compare.laboratory import Laboratory, prepare
from sophia_jax.recipes.compare.learning import learn, shares
from sophia_jax.recipes.compare.outcomes import Kept
from sophia_jax.recipes.compare.scoring import MEASURES, measures, scored_rows
from sophia_jax.recipes.compare.sizes import CompareConfig
from sophia_jax.recipes.compare.summary import summarize_arms
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.run_folder import read_seconds, stopwatch, write_json
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.types import InputError, Track, untracked

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
    clock = _Clock(len(config.seeds) * len(arms), say)
    per_seed, learnt = [], []
    with AnswerVerifier() as verifier:
        for seed in config.seeds:
            found = _run_seed(
                folder / f"seed-{seed}", config, seed, arms, verifier, clock, track
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
        if arm.start in known and arm.start not in wanted:
            raise InputError(
                f"arms: expected {arm.start}, from which {arm.name} starts, got "
                f"{', '.join(sorted(wanted))}"
            )
    return arms


def _run_seed(
    folder: Path,
    config: CompareConfig,
    seed: int,
    arms: Sequence[Arm],
    verifier: AnswerVerifier,
    clock: _Clock,
    track: Track,
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict]]:
    """Measures of each arm's answers, and what each has learnt from."""
    captioners = sorted({arm.captions for arm in arms if arm.rule is not None})
    lab = prepare(folder, config, seed, captioners, verifier.verify, track=track)
    kept, yields = shares(lab, arms)
    found = {}
    for arm in arms:
        with stopwatch(folder, f"arm {arm.name}"):
            found[arm.name] = _run_arm(lab, arm, kept.get(arm.name), track)
        clock.tick(f"seed {seed}", arm.name, found[arm.name])
    learnt = {
        name: {
            "kept": yields[name],
            "questions": len(each),
            "trajectories": sum(map(len, each.values())),
        }
        for name, each in kept.items()
    }
    return found, learnt


def _run_arm(
    lab: Laboratory, arm: Arm, share: Kept | None, track: Track
) -> dict[str, np.ndarray]:
    policy = learn(lab, arm, share, track)
    return measures(scored_rows(lab, arm.name, policy), lab.held_out)


class _Clock:
    """Says what came of each arm, and how long the rest will take."""

    def __init__(self, total: int, say: Callable[[str], None]):
        self._total, self._say = total, say
        self._start, self._done = time.monotonic(), 0

    def tick(self, seed: str, name: str, found: Mapping[str, np.ndarray]) -> None:
        self._done += 1
        elapsed = time.monotonic() - self._start
        left = elapsed * (self._total - self._done) / self._done
        self._say(
            f"{seed:<10} {name:<18} pass@1 {found['pass@1'].mean():6.1%}, captions "
            f"{found['caption_accuracy'].mean():6.1%}; arm {self._done} of "
            f"{self._total}, about {left / 60:.0f} min left"
        )


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
