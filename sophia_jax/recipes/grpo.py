"""On-policy learning on the user's own model and questions: GRPO."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sophia_jax.config import (
    AdvantageName,
    GrpoConfig,
    NormalizationName,
    SamplingConfig,
)
from sophia_jax.generation.engine import Engine
from sophia_jax.grpo import train_on_policy
from sophia_jax.losses import group_advantages, leave_one_out_advantages
from sophia_jax.models.model import Model
from sophia_jax.models.moving import move_model
from sophia_jax.paths import is_whole
from sophia_jax.recipes.leak_check import drop_leaks
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.phases import UpdateConfig, with_what_learns
from sophia_jax.recipes.questions import (
    can_be_judged,
    digest,
    encode_question,
    keep_fitting,
    load_vision_model,
    read_questions,
    room_for,
)
from sophia_jax.recipes.run_folder import (
    check_run_folder,
    count_reasons,
    open_run_folder,
    read_seconds,
    remove_leftovers,
    stopwatch,
    write_json,
    write_skipped,
)
from sophia_jax.recipes.update import save_learnt
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.training import objectives
from sophia_jax.training.loop import TrainingConfig
from sophia_jax.training.metrics import read_metrics
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = ["GrpoRunConfig", "grpo"]

ADVANTAGES = {
    "group": group_advantages,
    "group-centred": functools.partial(group_advantages, normalize=False),
    "leave-one-out": leave_one_out_advantages,
}
SHARE = 0.1  # of the steps, whose mean stands for the beginning or for the end


@dataclass(frozen=True)
class GrpoRunConfig:
    """Everything that an on-policy run depends on.

    Attributes:
      policy: folder or repository of the model that learns.
      data: a source of questions, as of `read_source`.
      answer: how answers are sampled; all of the vocabulary is advised, at
        temperature 1, as `train_on_policy` says.
      sizes: of a step, and the seed.
      phase: of the updates. Its batch size counts answers, None for all of a step; its
        number of steps is that of `sizes`.
      advantage: how answers are compared.
      normalization: over what a loss is a mean: each answer's own tokens, all tokens of
        the update, or the longest answer that may be.
      clip_low, clip_high: of the ratio, as of `grpo_token_loss`.
      kl_coefficient: of the distance from the policy at its start, which is held in
        memory if this is not 0. The paper has none.
      limit: how many questions are taken at most; None for all.
      exclude: benchmarks, whose questions and pictures are left out.
      slots: sequences that are sampled together.
      cache_gib: memory for keys and values, as in `Engine`; it is held all the time.
    """

    policy: str
    data: str
    answer: SamplingConfig
    sizes: GrpoConfig
    phase: UpdateConfig
    advantage: AdvantageName = "group"
    normalization: NormalizationName = "sequence"
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_coefficient: float = 0.0
    limit: int | None = None
    exclude: tuple[str, ...] = ()
    slots: int = 256
    cache_gib: float | None = None

    def __post_init__(self) -> None:
        for name in ("clip_low", "clip_high", "kl_coefficient"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected >= 0, got {getattr(self, name)}")
        if self.answer.temperature == 0:
            raise ValueError(
                "temperature: expected > 0, for answers that differ, got 0"
            )
        if self.slots < 1:
            raise ValueError(f"slots: expected >= 1, got {self.slots}")

    def training(self, longest: int) -> TrainingConfig:
        """The updates' sizes, for prompts that with their answers have so many tokens.

        Raises:
          InputError: as of `UpdateConfig.sized`.
        """
        answers = self.sizes.num_questions * self.sizes.num_answers
        batch_size = self.phase.batch_size or answers
        phase = dataclasses.replace(
            self.phase,
            batch_size=batch_size,
            num_steps=self.sizes.most_updates(batch_size),
        )
        return phase.sized(longest, answers)

    def objective(self) -> Callable:
        """What an update minimises."""
        reductions = {
            "sequence": objectives.over_sequence,
            "tokens": objectives.over_update,
            "length": objectives.over_length(float(self.answer.max_new_tokens)),
        }
        return objectives.grpo(
            clip_low=self.clip_low,
            clip_high=self.clip_high,
            kl_coefficient=self.kl_coefficient,
            reduce=reductions[self.normalization],
        )


def grpo(
    run: Path,
    config: GrpoRunConfig,
    *,
    skip_bad_rows: bool = False,
    resume: bool = False,
    force: bool = False,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Sample, verify, update, step after step, on the user's questions.

    Everything is checked before the run's folder is made. Leaves `model/`, where
    adapters learn `adapters/` too, and checkpoints and metrics in `training/grpo/`.

    Args:
      run: folder of the run.
      config: all settings.
      skip_bad_rows: leave bad and too long rows out and list them in `skipped.txt`.
      resume: go on with a run of the same settings.
      force: delete what an earlier run left in the folder.
      track: shows the steps.
      say: prints a line for each stage.

    Returns:
      What is written to `summary.json`.

    Raises:
      InputError: something that was given cannot be used.
    """
    reading = {"skip_bad_rows": skip_bad_rows, "track": track, "say": say}
    questions = read_questions(config.data, limit=config.limit, **reading)
    settings = _settings(config) | {"questions": digest(questions.items)}
    check_run_folder(run, settings, resume=resume, force=force)
    questions = drop_leaks(questions, config.exclude, config.data, **reading)
    partition = config.phase.partition
    policy = load_vision_model(
        config.policy,
        config.phase.roles.policy,
        learns_on=partition,
        dtype=config.phase.dtype,
        track=track,
    )
    if partition is not None and policy.partition is None:
        raise InputError("--policy-mesh: expected one beside --update-mesh, got none")
    fits = room_for(
        policy,
        config.answer.max_new_tokens,
        lambda item: item.question,
        system=config.sizes.system,
    )
    questions = keep_fitting(
        questions, [can_be_judged, fits], config.data, skip_bad_rows=skip_bad_rows
    )
    if len(questions.items) < config.sizes.num_questions:
        raise InputError(
            f"num_questions: expected at most the {len(questions.items)} that there "
            f"are, got {config.sizes.num_questions}"
        )
    training = config.training(_longest(policy, questions.items, config))
    open_run_folder(run, settings, resume=resume, force=force)
    write_skipped(run, questions.skipped)
    say(
        f"data       {len(questions.items)} questions, {len(questions.skipped)} rows "
        "skipped"
    )
    if (config.answer.temperature, config.answer.top_p) != (1, 1):
        say("note       answers are of another distribution than the policy's own")
    if not is_whole(run / "model"):
        remove_leftovers(run / "model")
        with stopwatch(run, "grpo"):
            model = _learn(run, policy, questions.items, config, training, track)
            save_learnt(model, run / "model", run / "adapters", base=config.policy)
    summary = _summary(run, config, training, questions.skipped)
    write_json(run / "summary.json", summary)
    return summary


def _learn(
    run: Path,
    policy: Model,
    items: Sequence[Item],
    config: GrpoRunConfig,
    training: TrainingConfig,
    track: Track,
) -> Model:
    policy = with_what_learns(policy, config.phase)
    engine = Engine(
        policy, config.answer, slots=config.slots, cache_gib=config.cache_gib
    )
    partition = config.phase.partition
    if partition not in (None, policy.partition):
        # Beside adapters the decoder is frozen, and stays where it is sampled, too.
        lent = () if policy.lora is not None else ("decoder",)
        policy = move_model(policy, partition, donate=lent)
    clips = {"clip_low": config.clip_low, "clip_high": config.clip_high}
    with AnswerVerifier() as verifier:
        return train_on_policy(
            policy,
            engine,
            verifier.verify,
            items,
            config.sizes,
            training,
            run / "training" / "grpo",
            objective=config.objective(),
            measure=objectives.grpo_measures(**clips),
            advantages=ADVANTAGES[config.advantage],
            reference=policy if config.kl_coefficient else None,
            donate=not config.kl_coefficient,
            track=track,
        )


def _settings(config: GrpoRunConfig) -> dict[str, Any]:
    settings = asdict(config)
    del settings["phase"]["roles"]  # where it runs is no matter of results
    return settings


def _longest(policy: Model, items: Sequence[Item], config: GrpoRunConfig) -> int:
    """Tokens of the longest prompt with the longest answer."""
    prompts = (
        encode_question(policy, item.question, item.images, system=config.sizes.system)
        for item in items
    )
    return max(map(len, prompts)) + config.answer.max_new_tokens


def _summary(
    run: Path, config: GrpoRunConfig, training: TrainingConfig, skipped: Sequence[str]
) -> dict:
    rows = read_metrics(run / "training" / "grpo" / "metrics.jsonl")
    few = max(1, round(SHARE * len(rows)))

    def mean(name: str, rows: Sequence[dict]) -> float:
        return float(np.mean([row[name] for row in rows]))

    names = ("reward", "answer_tokens", "truncated", "entropy", "dropped")
    return {
        "grpo": {
            "num_steps": len(rows),
            "updates": int(sum(row["updates"] for row in rows)),
            "answers_per_step": config.sizes.num_questions * config.sizes.num_answers,
            "batch_size": training.batch_size,
            "row_length": training.row_length,
            "first_steps": {name: mean(name, rows[:few]) for name in names},
            "last_steps": {name: mean(name, rows[-few:]) for name in names},
            "sampling_seconds": sum(row["sampling_seconds"] for row in rows),
            "update_seconds": sum(row["update_seconds"] for row in rows),
        },
        "skipped": len(skipped),
        "skipped_by_reason": count_reasons(skipped),
        "seconds": read_seconds(run),
        "versions": versions(),
        "machine": machine(),
        "settings": _settings(config),
    }
