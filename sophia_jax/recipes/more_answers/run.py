"""Test-time scaling of a quickstart's policy: accuracy against k under three judges."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sophia_jax.data.prompts import DIGITS
from sophia_jax.evaluation.evaluate import (
    answer_questions,
    read_evaluation,
    save_evaluation,
    summarize,
)
from sophia_jax.evaluation.judged import Selection
from sophia_jax.evaluation.predictions import by_question
from sophia_jax.generation.engine import Engine
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.model import Model
from sophia_jax.paths import is_whole
from sophia_jax.preemption import stop_if_preempted
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.more_answers.answers import (
    by_shard,
    find_run,
    some_of,
)
from sophia_jax.recipes.more_answers.findings import (
    different_texts,
    judge_findings,
    references,
)
from sophia_jax.recipes.more_answers.judges import JUDGES, scores_of
from sophia_jax.recipes.more_answers.lessons import (
    judge_scores,
    learn_to_judge,
    marked_pairs,
    readable,
)
from sophia_jax.recipes.more_answers.sizes import MoreAnswersConfig
from sophia_jax.recipes.run_folder import (
    read_seconds,
    remove_leftovers,
    stopwatch,
    write_json,
)
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.types import Item, Track, untracked

__all__ = ["KIND", "run_more_answers"]

KIND = "more_answers"


def run_more_answers(
    folder: Path,
    run: Path,
    config: MoreAnswersConfig,
    *,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Run everything that `folder` does not hold yet.

    Args:
      folder: of this run.
      run: folder of a quickstart that has ended; nothing is written there.
      config: all sizes.
      track: shows the progress of long stages.
      say: prints a line for each stage.

    Returns:
      What is written to `summary.json`.

    Raises:
      InputError: the folder is not a quickstart's, it has fewer questions than are
        asked, or the policy's answers to training questions are too seldom wrong to
        learn from.
      Preempted: it was told to stop; what was done is kept.
    """
    found = find_run(run)
    config.no_more_than(
        len(found.train), len(found.held_out), ("questions", "train_questions")
    )
    asked = some_of(found.held_out, config.questions, seed=config.seed)
    taught = some_of(found.train, config.train_questions, seed=config.seed)
    policy = load_model(found.model)
    lessons, answers = _answers(folder, policy, taught, asked, config, track)
    say(f"answers    {len(lessons)} to train a judge, {len(answers)} held out")
    judge, learnt = _judge(folder, policy, taught, lessons, config, track)
    say(f"judge      learnt from {learnt['pairs']} pairs of a right and a wrong one")
    scored = _scored(folder, judge, asked, answers, config, track)
    judges = {}
    for name in JUDGES:
        stop_if_preempted()
        with stopwatch(folder, "forecasts"):
            judges[name] = _of_judge(folder / "judges" / name, name, scored, config)
        say(f"{name:<10} {_line(judges[name])}")
    summary = {
        "kind": KIND,
        "run": str(run),
        "judge": learnt,
        "judges": judges,
        **_of_answers(scored, judges["good"]["measured_on"], config),
        "seconds": read_seconds(folder),
        "versions": versions(),
        "machine": machine(),
        "settings": dataclasses.asdict(config),
    }
    write_json(folder / "summary.json", summary)
    return summary


def _answers(
    folder: Path,
    policy: Model,
    taught: Sequence[Item],
    asked: Sequence[Item],
    config: MoreAnswersConfig,
    track: Track,
) -> list[list[dict]]:
    """The policy's answers to the training questions, and to the held-out ones."""
    engine = Engine(policy, config.sampling, slots=config.slots)
    parts = (
        ("train", taught, config.train_answers),
        ("held_out", asked, config.num_answers),
    )
    found = []
    with stopwatch(folder, "answers"), AnswerVerifier() as verifier:
        for name, items, number in parts:
            make = functools.partial(
                answer_questions,
                engine,
                verifier.verify,
                seed=config.seed,
                system=DIGITS.system,
                num_samples=number,
            )
            place, size = folder / "answers" / name, config.questions_per_shard
            shown = f"answers, {name.replace('_', '-')}"
            found.append(by_shard(place, items, make, size, track=track, name=shown))
    return found


def _judge(
    folder: Path,
    policy: Model,
    taught: Sequence[Item],
    rows: Sequence[dict],
    config: MoreAnswersConfig,
    track: Track,
) -> tuple[Model, dict[str, Any]]:
    """The trained judge, and what it learnt from."""
    path = folder / "judge"
    pairs = marked_pairs(
        readable(policy, taught, rows), most=config.pairs_of_question, seed=config.seed
    )
    with stopwatch(folder, "judge"):
        if not is_whole(path):
            remove_leftovers(path)
            judge = learn_to_judge(
                policy,
                taught,
                pairs,
                config.lessons(len(pairs)),
                folder / "training" / "judge",
                track=track,
            )
            save_model(judge, path)
        judge = load_model(path)
    return judge, {
        "answers": len(rows),
        "pairs": len(pairs),
        "questions": len({right["question_id"] for right, _ in pairs}),
        "updates": config.lessons(len(pairs)).optimizer.num_steps,
    }


def _scored(
    folder: Path,
    judge: Model,
    asked: Sequence[Item],
    answers: Sequence[dict],
    config: MoreAnswersConfig,
    track: Track,
) -> list[dict]:
    """The held-out answers with the trained judge's scores."""
    rows = by_question(answers, folder / "answers" / "held_out")

    def score(items: Sequence[Item]) -> list[dict]:
        some = [row for item in items for row in rows[item.id]]
        scores = judge_scores(judge, items, some, row_length=config.row_length)
        return [with_score(*each) for each in zip(some, scores, strict=True)]

    with stopwatch(folder, "scores"):
        return by_shard(
            folder / "scores",
            asked,
            score,
            config.questions_per_shard,
            track=track,
            name="scores",
        )


def with_score(row: dict, score: float) -> dict:
    """A row of `PREDICTIONS` with a score; nan is none."""
    return row | {"score": None if math.isnan(score) else float(score)}


def _of_judge(
    folder: Path, name: str, scored: Sequence[dict], config: MoreAnswersConfig
) -> dict[str, Any]:
    """One judge's evaluation, as `evaluate` would leave it, and its forecast."""
    rows = read_evaluation(folder)
    if rows is None:
        scores = scores_of(name, scored, config)
        rows = [with_score(*each) for each in zip(scored, scores, strict=True)]
        selection = Selection(
            ("majority", "best-of-k", "reward-weighted"),
            tuple(t for t in config.temperatures if t > 0),
        )
        summary = summarize(
            rows, pass_k=config.ks, seed=config.seed, selection=selection
        )
        save_evaluation(folder, rows, summary)
    questions = list(by_question(rows, folder).values())
    return judge_findings(questions, config)


def _of_answers(
    scored: Sequence[dict], places: Sequence[int], config: MoreAnswersConfig
) -> dict[str, Any]:
    """What no judge has a part in; references are of where forecasts are measured."""
    questions = list(by_question(scored, "scores").values())
    measured = [questions[place] for place in places]
    return {
        "references": references(measured, config.ks),
        "different_texts": different_texts(questions),
    }


def _line(found: dict) -> str:
    best = found["best_num_samples"][0]
    predicted = "none" if best["predicted"] is None else best["predicted"]
    measured = "none" if best["measured"] is None else best["measured"]
    curve = found["curves"][0]
    concordance = found["measures"]["concordance"]
    told = "–" if concordance is None else f"{concordance:.1%}"
    return (
        f"concordance {told}; best of "
        f"{curve['k'][-1]}: {curve['measured'][-1]:.1%} right; best k foretold "
        f"{predicted}, measured {measured}"
    )
