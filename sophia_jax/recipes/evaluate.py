"""pass@1 of any model folder on any question file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sophia_jax.config import SamplingConfig
from sophia_jax.evaluation.evaluate import (
    answer_questions,
    read_captions,
    save_evaluation,
    summarize,
)
from sophia_jax.generation.engine import Engine
from sophia_jax.models.model import Model
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
    write_skipped,
)
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.types import Completion, GenerateFn, Item, Request, Track, untracked

__all__ = ["EvaluateConfig", "evaluate"]


@dataclass(frozen=True)
class EvaluateConfig:
    """Everything that an evaluation depends on.

    Attributes:
      model: folder or repository.
      data: a source of questions, as of `read_source`.
      answer: how answers are sampled, one for each question.
      caption: how captions are sampled, where the true ones are known.
      system: the system prompt of the answers, or None.
      caption_prompt: asks for a caption.
      seed: of the samples.
      limit: how many questions are taken at most; None for all.
      slots: sequences that are sampled together.
      cache_gib: memory for keys and values, as in `Engine`.
    """

    model: str
    data: str
    answer: SamplingConfig
    caption: SamplingConfig
    system: str | None
    caption_prompt: str
    seed: int = 0
    limit: int | None = None
    slots: int = 256
    cache_gib: float | None = None

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError(f"slots: expected >= 1, got {self.slots}")


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
    """Ask every question once, and judge the answers.

    Leaves `predictions.parquet`, `summary.json`, and `skipped.txt` where rows were.

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
    settings = asdict(config) | {"questions": digest(questions.items)}
    check_run_folder(folder, settings, resume=resume, force=force)
    if resume and (folder / "summary.json").exists():
        return json.loads((folder / "summary.json").read_text())
    model = load_vision_model(config.model)
    questions = keep_fitting(
        questions, _checks(model, config), config.data, skip_bad_rows=skip_bad_rows
    )
    open_run_folder(folder, settings, resume=resume, force=force)
    write_skipped(folder, questions.skipped)
    rows = _ask(model, questions.items, config, track)
    summary = summarize(rows) | {
        "skipped": len(questions.skipped),
        "skipped_by_reason": count_reasons(questions.skipped),
        "versions": versions(),
        "machine": machine(),
    }
    save_evaluation(folder, rows, summary)
    return summary


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


def _ask(
    model: Model, items: tuple[Item, ...], config: EvaluateConfig, track: Track
) -> list[dict]:
    """Rows of `PREDICTIONS`."""
    engine = Engine(
        model, config.answer, slots=config.slots, cache_gib=config.cache_gib
    )
    with AnswerVerifier() as verifier:
        rows = answer_questions(
            _tracked(engine, track, "answers", len(items)),
            verifier.verify,
            items,
            seed=config.seed,
            system=config.system,
        )
    known = sum(item.caption is not None for item in items)
    if not known:
        return rows
    captioner = Engine(
        model, config.caption, slots=config.slots, cache_gib=config.cache_gib
    )
    return read_captions(
        _tracked(captioner, track, "captions", known),
        items,
        rows,
        prompt=config.caption_prompt,
        seed=config.seed,
    )


def _tracked(
    generate: GenerateFn, track: Track, description: str, total: int
) -> GenerateFn:
    """The same samples, while it is shown how many there are."""

    def sample(requests: Iterable[Request]) -> Iterator[Completion]:
        return iter(track(generate(requests), description, total))

    return sample
