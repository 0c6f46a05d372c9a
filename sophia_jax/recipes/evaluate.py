"""Scores of any model folder on any question file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax

from sophia_jax.evaluation.evaluate import answer_questions, read_captions, summarize
from sophia_jax.evaluation.predictions import read_predictions, write_predictions
from sophia_jax.evaluation.summary import SUMMARY_COLUMNS
from sophia_jax.evaluation.vlmevalkit import write_vlmevalkit
from sophia_jax.generation.engine import Engine
from sophia_jax.models.model import Model
from sophia_jax.paths import remove_tree
from sophia_jax.recipes.answer_shards import AnswerShards
from sophia_jax.recipes.evaluate_config import EvaluateConfig
from sophia_jax.recipes.judging import (
    OpenJudge,
    judge_counts,
    judge_shards,
    open_judge,
)
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.questions import (
    Check,
    can_be_judged,
    digest,
    keep_fitting,
    load_vision_model,
    read_questions,
    room_for,
)
from sophia_jax.recipes.run_folder import (
    check_run_folder,
    count_reasons,
    open_run_folder,
    write_json,
    write_skipped,
)
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.sharding.together import is_first, my_shards, wait_for_all
from sophia_jax.types import Completion, GenerateFn, Request, Track, untracked

__all__ = ["EvaluateConfig", "evaluate"]

SUMMARY, SHARDS = "summary.json", "shards"  # the one appears when all is done
JUDGE = "judge"  # of its replies, among the shards


def evaluate(
    folder: Path,
    config: EvaluateConfig,
    *,
    skip_bad_rows: bool = False,
    resume: bool = False,
    force: bool = False,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Ask every question, judge the answers, and score them.

    Leaves `predictions.parquet`, `vlmevalkit.tsv`, `summary.json`, and `skipped.txt`
    where rows were. Until then answers, and a judge's replies, are kept in `shards`.

    Args:
      folder: of the results.
      config: all settings.
      skip_bad_rows: leave bad and too long rows out, count and list them.
      resume: keep what an evaluation of the same settings left.
      force: delete what an earlier one left in the folder.
      track: shows how far the sampling is.
      say: prints how much was unpacked of the source.

    Returns:
      What is written to `summary.json`.

    Raises:
      InputError: something that was given cannot be used.
    """
    questions = read_questions(
        config.data,
        limit=config.limit,
        skip_bad_rows=skip_bad_rows,
        track=track,
        say=say,
    )
    settings = config.settings() | {"questions": digest(questions.items)}
    check_run_folder(folder, settings, resume=resume, force=force)
    if resume and (folder / SUMMARY).exists():
        if is_first():
            remove_tree(folder / SHARDS)
        return json.loads((folder / SUMMARY).read_text())
    judge = _open_judge(config, folder, track)
    model = load_vision_model(
        config.model, config.mesh, dtype=config.dtype, track=track
    )
    questions = keep_fitting(
        questions, _checks(model, config), config.data, skip_bad_rows=skip_bad_rows
    )
    open_run_folder(folder, settings, resume=resume, force=force)
    write_skipped(folder, questions.skipped)
    shards = AnswerShards(
        folder / SHARDS,
        questions.items,
        config.num_samples,
        config.shard_size,
        has_scores=judge is not None,
    )
    _answer(model, shards, config, track)
    _caption(model, shards, config, track)
    if judge is not None:
        wait_for_all("what is judged")
        judge_shards(
            judge,
            shards,
            folder / SHARDS / JUDGE,
            make_room=partial(_give_up, model),
            track=track,
        )
    wait_for_all("the answers")
    if is_first():
        _leave_results(folder, shards, config, questions.skipped, judge)
    wait_for_all("the results")
    return json.loads((folder / SUMMARY).read_text())


def _open_judge(config: EvaluateConfig, folder: Path, track: Track) -> OpenJudge | None:
    """The judge, if there is one, and if it can be asked."""
    if config.judge is None:
        return None
    judge = open_judge(
        config.judge,
        folder / SHARDS / JUDGE,
        dtype=config.dtype,
        mesh=config.mesh,
        slots=config.slots,
        cache_gib=config.cache_gib,
        track=track,
    )
    judge.check_server()
    return judge


def _give_up(model: Model) -> None:
    """Delete its weights, so that there is room for others."""
    for array in jax.tree.leaves(model.params):
        array.delete()


def _leave_results(
    folder: Path,
    shards: AnswerShards,
    config: EvaluateConfig,
    skipped: Sequence[str],
    judge: OpenJudge | None,
) -> None:
    """Predictions and their summary in the stead of the shards."""
    write_predictions(folder / "predictions.parquet", shards.predictions())
    write_vlmevalkit(
        folder / "vlmevalkit.tsv", itertools.chain.from_iterable(shards.predictions())
    )
    rows = read_predictions(folder / "predictions.parquet", SUMMARY_COLUMNS)
    summary = summarize(
        rows, pass_k=config.pass_k, seed=config.seed, selection=config.selection
    )
    if judge is not None:
        summary["judge"] |= judge_counts(judge, folder / SHARDS / JUDGE)
    summary |= {
        "skipped": len(skipped),
        "skipped_by_reason": count_reasons(skipped),
        "versions": versions(),
        "machine": machine(),
    }
    write_json(folder / SUMMARY, summary)
    remove_tree(shards.folder)


def _checks(model: Model, config: EvaluateConfig) -> list[Check]:
    caption_fits = room_for(
        model, config.caption.max_new_tokens, lambda item: config.caption_prompt
    )
    return [
        can_be_judged,
        room_for(
            model,
            config.answer.max_new_tokens,
            lambda item: item.question,
            system=config.system,
        ),
        lambda item: item.caption is None or caption_fits(item),
    ]


def _answer(
    model: Model, shards: AnswerShards, config: EvaluateConfig, track: Track
) -> None:
    """Sample, judge and store the answers that are not there yet."""
    missing = my_shards(shards.answers.missing())
    if not missing:
        return
    engine = Engine(
        model, config.answer, slots=config.slots, cache_gib=config.cache_gib
    )
    total = sum(len(shards.questions(shard)) for shard in missing) * config.num_samples
    with (
        AnswerVerifier(rule=config.rule) as verifier,
        _counted(engine, track, "answers", total) as generate,
    ):
        for shard in missing:
            rows = answer_questions(
                generate,
                verifier.verify,
                shards.questions(shard),
                seed=config.seed,
                system=config.system,
                num_samples=config.num_samples,
            )
            shards.answers.write(shard, rows)


def _caption(
    model: Model, shards: AnswerShards, config: EvaluateConfig, track: Track
) -> None:
    """Sample, compare and store the captions that are not there yet."""
    missing = my_shards(shards.captions.missing() if shards.has_captions else [])
    if not missing:
        return
    engine = Engine(
        model, config.caption, slots=config.slots, cache_gib=config.cache_gib
    )
    total = sum(len(shards.described(shard)) for shard in missing)
    with _counted(engine, track, "captions", total) as generate:
        for shard in missing:
            items = shards.described(shard)
            asked = [{"question_id": item.id, "sample": 0} for item in items]
            rows = read_captions(
                generate, items, asked, prompt=config.caption_prompt, seed=config.seed
            )
            names = shards.captions.schema.names
            shards.captions.write(shard, [{n: row[n] for n in names} for row in rows])


@contextmanager
def _counted(
    generate: GenerateFn, track: Track, description: str, total: int
) -> Iterator[GenerateFn]:
    """The same samples, while it is shown how many there are, over several calls."""
    ticks = iter(track(range(total), description, total))

    def sample(requests: Iterable[Request]) -> Iterator[Completion]:
        completions = generate(requests)
        try:
            for completion in completions:
                next(ticks, None)
                yield completion
        finally:
            if hasattr(completions, "close"):
                completions.close()

    yield sample
    next(ticks, None)  # it says that all are there once it is asked for more
