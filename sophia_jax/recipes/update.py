"""The second half of the loop: the policy gradient on what a collection kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from sophia_jax.data.good_rows import ItemFile
from sophia_jax.data.packing import Example
from sophia_jax.data.prompts import Prompts, encode_target
from sophia_jax.generation.pictured import PicturedExamples
from sophia_jax.models.adapter_folder import save_adapters
from sophia_jax.models.adapters import merge_adapters
from sophia_jax.models.folder import save_model
from sophia_jax.models.model import Model
from sophia_jax.paths import is_whole, remove_tree
from sophia_jax.recipes.collection import Collection, read_collection
from sophia_jax.recipes.lessons import Lessons, mix_lessons, read_lessons
from sophia_jax.recipes.meshes import moved_to_learn
from sophia_jax.recipes.phases import MixPart, UpdateConfig, with_what_learns
from sophia_jax.recipes.questions import (
    digest,
    keep_fitting,
    load_vision_model,
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
from sophia_jax.sharding.together import are_several, is_first, wait_for_all
from sophia_jax.sophia import trajectory_examples, update_policy
from sophia_jax.training.loop import TrainingConfig
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = ["save_learnt", "update"]


def update(
    run: Path,
    config: UpdateConfig,
    *,
    policy: str | None = None,
    skip_bad_rows: bool = False,
    resume: bool = False,
    force: bool = False,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Learn from what a collection kept, and from what is mixed in.

    Leaves `model/`, where adapters learn `adapters/` too, checkpoints and metrics in
    `training/sophia/`, and what came of it under `update` in the collection's
    `summary.json`.

    Args:
      run: folder of the collection.
      config: of the phase.
      policy: folder of the model to start from; None for the one that wrote the
        captions, as the paper has it.
      skip_bad_rows: leave out kept trajectories that are too long for the policy, and
        bad rows of what is mixed in.
      resume: go on with an update of the same settings.
      force: delete what an earlier update left.
      track: shows the updates.
      say: prints a line for each stage.

    Returns:
      What is written to `summary.json`.

    Raises:
      InputError: the collection is not whole, nothing was kept, a trajectory is too
        long, a source of the mix cannot be used, or there is an update already.
    """
    if are_several() and config.partition is None:
        raise InputError(
            "--update-mesh: expected one over the devices of all processes, got none"
        )
    collection = read_collection(run)
    policy = policy or collection.policy
    settings = asdict(config) | {"policy": policy}
    del settings["roles"]  # where it runs is no matter of results
    phase, target = run / "training" / "sophia", run / "model"
    adapters = run / "adapters"
    if not (resume and config.mix):  # else once it is known what is mixed in
        check_run_folder(phase, settings, resume=resume, force=force)
    for left in (target, adapters):
        if is_whole(left) and not (phase.exists() or force):
            raise InputError(f"{left}: expected none of another update, got one")
    kept = [row for row in collection.selection if row["kept"]]
    if not kept:
        raise InputError(_nothing_kept(run, collection.selection))
    on = {"learns_on": config.partition, "dtype": config.dtype, "track": track}
    model = load_vision_model(policy, config.roles.policy, **on)
    fitting = _without_long(model, collection, kept, skip_bad_rows=skip_bad_rows)
    reading = {"skip_bad_rows": skip_bad_rows, "track": track, "say": say}
    lessons = {
        part: read_lessons(model, part.data, exclude=collection.exclude, **reading)
        for part in config.mix
    }
    if lessons:
        settings |= {"mixed_in": [digest(each.items) for each in lessons.values()]}
    open_run_folder(phase, settings, resume=resume, force=force)
    if force and is_first():
        for left in (target, adapters):
            remove_tree(left)
    wait_for_all("an earlier model to be removed")
    write_skipped(phase, fitting.skipped + _skipped(lessons))
    with stopwatch(run, "update"):
        trajectories = _examples(model, fitting.items, kept, collection.prompts)
        training, examples = _what_is_learnt(model, trajectories, lessons, config)
        if not is_whole(target):
            remove_leftovers(target)
            beside = sum(len(each.items) for each in lessons.values())
            mixed = f" and {beside} rows beside them" if beside else ""
            say(
                f"update     {len(trajectories)} trajectories{mixed}, "
                f"{_sizes(training)}"
            )
            shown = [item.images for each in lessons.values() for item in each.items]
            encodes = trajectories.encodes_later or any(shown)
            model = moved_to_learn(model, config.partition, still_encodes=encodes)
            model = with_what_learns(model, config)
            model = update_policy(model, examples, training, phase, track=track)
            save_learnt(model, target, adapters, base=policy)
    summary = _update_summary(training, len(trajectories), fitting.skipped)
    return _add_to_summary(run, summary | _mix_summary(config, lessons))


def save_learnt(model: Model, target: Path, adapters: Path, *, base: str) -> None:
    """Save what has learnt; the model last of all: where it is, the phase is done.

    Args:
      model: with adapters that learnt, or none.
      target: folder of the model, these merged.
      adapters: their folder; none is made for a model without.
      base: folder or repository of the start.
    """
    if model.lora is not None:
        wait_for_all("the update")  # or one would find what another removes
        if is_first():
            remove_tree(adapters)  # of a run that was killed here
        remove_leftovers(adapters)
        wait_for_all("earlier adapters to be removed")
        save_adapters(model, adapters, base=base)
        model = merge_adapters(model, donate=True)
    save_model(model, target)


def _nothing_kept(run: Path, selection: Sequence[dict]) -> str:
    reasons = Counter(row["reason"] for row in selection)
    reasons = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
    return (
        f"{run / 'rollouts' / 'selection'}: expected a trajectory to learn from, "
        f"got 0 of {len(selection)} questions kept ({reasons})"
    )


def _without_long(
    model: Model,
    collection: Collection,
    kept: Sequence[dict],
    *,
    skip_bad_rows: bool,
) -> ItemFile:
    """The kept questions whose trajectories fit into the model's context."""
    texts = {row["question_id"]: row["text"] for row in kept}

    def check(item: Item) -> None:
        text = texts[item.id]
        room_for(
            model,
            len(encode_target(model.tokenizer, text)),
            lambda item: item.question,
            system=collection.prompts.system_for(text),
        )(item)

    questions = ItemFile(
        items=tuple(item for item in collection.items if item.id in texts), skipped=()
    )
    where = collection.data
    return keep_fitting(questions, [check], where, skip_bad_rows=skip_bad_rows)


def _examples(
    model: Model, items: Sequence[Item], kept: Sequence[dict], prompts: Prompts
) -> PicturedExamples:
    ids = {item.id for item in items}
    fitting = [row for row in kept if row["question_id"] in ids]
    return trajectory_examples(model, items, fitting, prompts)


def _sizes(training: TrainingConfig) -> str:
    return (
        f"{training.optimizer.num_steps} updates of {training.batch_size}, rows of "
        f"{training.row_length} tokens"
    )


def _what_is_learnt(
    model: Model,
    trajectories: PicturedExamples,
    lessons: Mapping[MixPart, Lessons],
    config: UpdateConfig,
) -> tuple[TrainingConfig, Sequence[Example]]:
    """The phase's sizes and its examples: a pass shows each trajectory once."""
    if not lessons:
        return config.sized(trajectories.longest, len(trajectories)), trajectories
    weights = [part.weight for part in lessons]
    longest = [each.longest for each in (trajectories, *lessons.values())]
    every = sum(weights) + config.trajectory_weight
    num_examples = -(-len(trajectories) * every // config.trajectory_weight)
    mixed = mix_lessons(
        model,
        trajectories,
        lessons,
        trajectory_weight=config.trajectory_weight,
        seed=config.seed,
    )
    return config.sized(max(longest), num_examples), mixed


def _skipped(lessons: Mapping[MixPart, Lessons]) -> tuple[str, ...]:
    return tuple(line for each in lessons.values() for line in each.skipped)


def _mix_summary(config: UpdateConfig, lessons: Mapping[MixPart, Lessons]) -> dict:
    """Rows and share of each source that was mixed in; nothing without any."""
    if not lessons:
        return {}
    total = config.trajectory_weight + sum(part.weight for part in lessons)
    skipped = _skipped(lessons)
    return {
        "trajectory_share": config.trajectory_weight / total,
        "mix": [
            {"data": part.data, "rows": len(x.items), "share": part.weight / total}
            for part, x in lessons.items()
        ],
        "mix_skipped": len(skipped),
        "mix_skipped_by_reason": count_reasons(skipped),
    }


def _update_summary(
    training: TrainingConfig, num_examples: int, skipped: Sequence[str]
) -> dict:
    return {
        "trajectories": num_examples,
        "skipped": list(skipped),
        "num_steps": training.optimizer.num_steps,
        "batch_size": training.batch_size,
        "row_length": training.row_length,
    }


def _add_to_summary(run: Path, update: dict) -> dict:
    path = run / "summary.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    summary = before | {"update": update, "seconds": read_seconds(run)}
    write_json(path, summary)
    return summary
