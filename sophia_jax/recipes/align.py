"""f-DPO on preferences: a file's, or those that stored rollouts hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from sophia_jax.models.folder import describe_model
from sophia_jax.models.model import Model
from sophia_jax.paths import as_path, is_whole
from sophia_jax.recipes.align_config import AlignConfig, MinedFrom
from sophia_jax.recipes.align_task import Task, learn, make_task, prepare
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.own_answers import intervals, without_ends
from sophia_jax.recipes.pair_scores import pair_intervals
from sophia_jax.recipes.pair_tables import write_pairs
from sophia_jax.recipes.preferences import (
    Pairs,
    digest_pairs,
    fitting_pairs,
    hold_out,
    mined_pairs,
    question_names,
    read_pairs,
)
from sophia_jax.recipes.run_folder import (
    count_reasons,
    open_run_folder,
    read_seconds,
    remove_leftovers,
    stopwatch,
    write_json,
    write_skipped,
)
from sophia_jax.rollouts.store import open_table
from sophia_jax.sharding.together import are_several
from sophia_jax.training.metrics import read_metrics
from sophia_jax.types import InputError, Track, untracked

__all__ = ["align"]


def align(
    out: Path,
    config: AlignConfig,
    *,
    skip_bad_rows: bool = False,
    resume: bool = False,
    force: bool = False,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Learn preferences by f-DPO; look at held-out ones before, meanwhile and after.

    Leaves the tables `pairs` and `reference`, `model/` (where adapters learn
    `adapters/` too), checkpoints and metrics in `training/f_dpo/`, and `summary.json`.

    Args:
      out: folder of the run.
      config: all settings.
      skip_bad_rows: leave bad and too long rows out and list them in `skipped.txt`.
      resume: go on with a run of the same settings.
      force: delete what an earlier run left in the folder.
      track: shows the progress of long stages.
      say: prints a line for each stage.

    Returns:
      What is written to `summary.json`.

    Raises:
      InputError: something that was given cannot be used.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240.
    """
    if are_several():
        raise InputError("align: expected one process, got several")
    described = describe_model(config.policy)
    pairs = _read(described, config, skip_bad_rows, track, say)
    held_out = hold_out(pairs.preferences, config.held_out, seed=config.phase.seed)
    task = make_task(described, config, pairs.preferences, held_out, out)
    settings = asdict(config) | {"pairs": digest_pairs(pairs.preferences)}
    del settings["phase"]["roles"]  # where it runs is no matter of results
    open_run_folder(out, settings, resume=resume, force=force)
    write_skipped(out, pairs.skipped)
    write_pairs(out / "pairs", pairs, held_out)
    say(
        f"pairs      {len(task.training_pairs)} to learn from, "
        f"{len(task.held_out_pairs)} held out, {len(pairs.skipped)} rows skipped"
    )
    if not is_whole(task.model):
        remove_leftovers(task.model)
        with stopwatch(out, "reference"):
            policy, examples = prepare(task, track)
        say(f"f-DPO      {_sizes(task)}")
        with stopwatch(out, "update"):
            learn(task, policy, examples, track)
    summary = _summary(task, pairs)
    write_json(out / "summary.json", summary)
    return summary


def _read(
    described: Model,
    config: AlignConfig,
    skip_bad_rows: bool,
    track: Track,
    say: Callable[[str], None],
) -> Pairs:
    """The pairs that fit, of a source or of stored rollouts."""
    given, phase = config.preferences, config.phase
    if isinstance(given, MinedFrom):
        where = given.run
        pairs = mined_pairs(
            as_path(where),
            described,
            num_pairs=given.pairs_per_question,
            threshold=given.threshold,
            cut_off=given.cut_off,
            seed=phase.seed,
        )
    else:
        where = given
        reading = {"skip_bad_rows": skip_bad_rows, "track": track, "say": say}
        pairs = read_pairs(where, limit=config.limit, exclude=config.exclude, **reading)
    return fitting_pairs(
        described,
        pairs,
        where,
        row_length=phase.row_length,
        skip_bad_rows=skip_bad_rows,
    )


def _sizes(task: Task) -> str:
    training = task.training
    return (
        f"{training.optimizer.num_steps} updates of {training.batch_size} pairs, rows "
        f"of {training.row_length} tokens"
    )


def _summary(task: Task, pairs: Pairs) -> dict:
    training = task.training
    return {
        "pairs": {
            "training": len(task.training_pairs),
            "held_out": len(task.held_out_pairs),
        },
        "held_out_pairs": _held_out(task, pairs),
        "update": {
            "num_steps": training.optimizer.num_steps,
            "batch_size": training.batch_size,
            "row_length": training.row_length,
        },
        "skipped": len(pairs.skipped),
        "skipped_by_reason": count_reasons(pairs.skipped),
        "seconds": read_seconds(task.out),
        "versions": versions(),
        "machine": machine(),
    }


def _held_out(task: Task, pairs: Pairs) -> dict:
    """Held-out pairs before and after, and intervals of the latter; if there are any.

    The intervals are over questions, of which some have more pairs than others; those
    of divergences are over the policy's own answers.
    """
    looks = read_metrics(task.looks / "metrics.jsonl")
    if not looks:
        return {}
    rows = open_table(task.out / "held_out").read_all()
    names = question_names([pairs.preferences[n] for n in task.held_out_pairs])
    margins = [row["reward_margin"] for row in rows]
    before, after = (without_ends(look) for look in (looks[0], looks[-1]))
    return {
        "before": before,
        "after": after,
        "intervals_after": pair_intervals(margins, names) | intervals(looks[-1]),
    }
