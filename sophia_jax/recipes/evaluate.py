"""Scores of any model folder on any question file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sophia_jax.config import Dtype, SamplingConfig
from sophia_jax.evaluation.evaluate import answer_questions, read_captions, summarize
from sophia_jax.evaluation.predictions import read_predictions, write_predictions
from sophia_jax.evaluation.summary import SUMMARY_COLUMNS, check_pass_k
from sophia_jax.evaluation.vlmevalkit import write_vlmevalkit
from sophia_jax.generation.engine import Engine
from sophia_jax.models.model import Model
from sophia_jax.paths import remove_tree
from sophia_jax.recipes.answer_shards import AnswerShards
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
from sophia_jax.rewards.rules import RuleName
from sophia_jax.sharding import MeshConfig
from sophia_jax.sharding.together import is_first, my_shards, wait_for_all
from sophia_jax.types import Completion, GenerateFn, Request, Track, untracked

__all__ = ["EvaluateConfig", "evaluate"]

FILLS_OF_SLOTS = 4  # by a shard: when its last answers end, slots are left empty
FEWEST_QUESTIONS = 128  # of a shard
MOST_SAMPLES = 1000  # as in `majority_at_k`
SUMMARY, SHARDS = "summary.json", "shards"  # the one appears when all is done


@dataclass(frozen=True)
class EvaluateConfig:
    """Everything that an evaluation depends on.

    Attributes:
      model: folder or repository.
      data: a source of questions, as of `read_source`.
      answer: how answers are sampled.
      caption: how captions are sampled, where the true ones are known.
      system: the system prompt of the answers, or None.
      caption_prompt: asks for a caption.
      num_samples: answers to each question, in [1, 1000].
      pass_k: each k of pass@k and majority@k, in [1, num_samples].
      rule: by which answers are judged, as of `AnswerVerifier`.
      seed: of the samples, and of the resamples of intervals.
      dtype: of the model's weights.
      limit: how many questions are taken at most; None for all.
      questions_per_shard: what is sampled between two savings; None for as many as
        fill the slots four times, and 128 at least.
      slots: sequences that are sampled together.
      cache_gib: memory for keys and values, as in `Engine`.
      mesh: the model's devices, as of `Roles.policy`.
    """

    model: str
    data: str
    answer: SamplingConfig
    caption: SamplingConfig
    system: str | None
    caption_prompt: str
    num_samples: int = 1
    pass_k: tuple[int, ...] = (1,)
    rule: RuleName = "math"
    seed: int = 0
    dtype: Dtype = "float32"
    limit: int | None = None
    questions_per_shard: int | None = None
    slots: int = 256
    cache_gib: float | None = None
    mesh: MeshConfig | None = None

    def __post_init__(self) -> None:
        for name in ("slots", "questions_per_shard"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected >= 1, got {value}")
        if not 1 <= self.num_samples <= MOST_SAMPLES:
            raise ValueError(
                f"num_samples: expected 1 to {MOST_SAMPLES}, got {self.num_samples}"
            )
        check_pass_k(self.pass_k, self.num_samples)

    @property
    def shard_size(self) -> int:
        """Questions in a shard."""
        enough = -(-FILLS_OF_SLOTS * self.slots // self.num_samples)
        return self.questions_per_shard or max(FEWEST_QUESTIONS, enough)


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
    where rows were. Until then answers are kept in `shards`.

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
    del settings["mesh"]  # where it runs is no matter of results
    check_run_folder(folder, settings, resume=resume, force=force)
    if resume and (folder / SUMMARY).exists():
        if is_first():
            remove_tree(folder / SHARDS)
        return json.loads((folder / SUMMARY).read_text())
    model = load_vision_model(
        config.model, config.mesh, dtype=config.dtype, track=track
    )
    questions = keep_fitting(
        questions, _checks(model, config), config.data, skip_bad_rows=skip_bad_rows
    )
    open_run_folder(folder, settings, resume=resume, force=force)
    write_skipped(folder, questions.skipped)
    shards = AnswerShards(
        folder / SHARDS, questions.items, config.num_samples, config.shard_size
    )
    _answer(model, shards, config, track)
    _caption(model, shards, config, track)
    wait_for_all("the answers")
    if is_first():
        _leave_results(folder, shards, config, questions.skipped)
    wait_for_all("the results")
    return json.loads((folder / SUMMARY).read_text())


def _leave_results(
    folder: Path, shards: AnswerShards, config: EvaluateConfig, skipped: Sequence[str]
) -> None:
    """Predictions and their summary in the stead of the shards."""
    write_predictions(folder / "predictions.parquet", shards.predictions())
    write_vlmevalkit(
        folder / "vlmevalkit.tsv", itertools.chain.from_iterable(shards.predictions())
    )
    rows = read_predictions(folder / "predictions.parquet", SUMMARY_COLUMNS)
    summary = summarize(rows, pass_k=config.pass_k, seed=config.seed) | {
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
