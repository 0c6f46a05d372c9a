"""A judge of answers: a model folder or a server, and what it says of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sophia_jax.config import Dtype, SamplingConfig
from sophia_jax.generation.address import parse_address
from sophia_jax.generation.engine import Engine
from sophia_jax.generation.remote import RemoteModel
from sophia_jax.generation.usage import usage_summary
from sophia_jax.models.folder import describe_model
from sophia_jax.models.model import Model
from sophia_jax.recipes.answer_shards import AnswerShards
from sophia_jax.recipes.first_tokens import FirstTokens, tokens_that_read
from sophia_jax.recipes.fitting import FittingRun, fits_in
from sophia_jax.recipes.journals import (
    all_journals,
    count_all,
    earlier_journals,
    my_journal,
)
from sophia_jax.recipes.judge_config import JudgeConfig
from sophia_jax.recipes.meshes import load_for_sampling
from sophia_jax.recipes.questions import encode_question
from sophia_jax.rewards import JudgeLedger, PairJudge, score_judge, yes_judge
from sophia_jax.rewards.answers import after_thinking
from sophia_jax.rewards.judge_prompts import JUDGE_PROMPTS, SHORT_JUDGE_PROMPTS
from sophia_jax.rewards.pair_judge import position_bias
from sophia_jax.sharding import MeshConfig
from sophia_jax.sharding.together import are_several, my_shards
from sophia_jax.types import GenerateFn, InputError, Item, Request, Track, untracked

__all__ = ["OpenJudge", "judge_counts", "judge_shards", "open_judge", "score_rows"]

JOURNAL, LEDGER = "server", "replies"
TOP_TOKENS = 20  # the most that OpenAI's servers list
FIRST_TOKEN = SamplingConfig(1)  # at temperature 1: what is read is the model's own
LISTED = {"top_logprobs": TOP_TOKENS}


@dataclass(frozen=True)
class OpenJudge:
    """A judge wherever it runs.

    Attributes:
      config: who it is.
      start: gives what samples; a local model is loaded then, after `make_room` was
        called.
      count_tokens: of a prompt; None of a server, which counts by itself.
      sees: whether it is shown the pictures.
      check_server: raises where there is a server that cannot serve.
      usage: what all processes have asked a server, and what it cost; None of a local
        model.
    """

    config: JudgeConfig
    start: Callable[[Callable[[], None]], GenerateFn]
    count_tokens: Callable[[Request], int] | None = None
    sees: bool = False
    check_server: Callable[[], None] = lambda: None
    usage: Callable[[], dict] | None = None

    def judge(self, ledger: JudgeLedger, make_room: Callable[[], None]) -> Any:
        """The `JudgeFn`, which takes pictures besides."""
        config, generate = self.config, self.start(make_room)
        options = {
            "prompts": SHORT_JUDGE_PROMPTS if config.short_prompts else JUDGE_PROMPTS,
            "retries": config.retries,
            "seed": config.seed,
            "ledger": ledger,
            "count_tokens": self.count_tokens,
        }
        if config.kind == "pairs":
            return PairJudge(generate, opponents=config.opponents, **options)
        make = {"score": score_judge, "yes": yes_judge}[config.kind]
        return make(generate, **options)


def open_judge(
    config: JudgeConfig,
    folder: Path,
    *,
    dtype: Dtype = "float32",
    mesh: MeshConfig | None = None,
    slots: int = 256,
    cache_gib: float | None = None,
    track: Track = untracked,
) -> OpenJudge:
    """See that there is a judge; nothing is loaded yet.

    Args:
      config: who it is.
      folder: of a server's answers, until their scores are stored elsewhere.
      dtype, mesh: of a local model's weights.
      slots, cache_gib: of its engine.
      track: shows how fast it is loaded.

    Raises:
      InputError: a folder holds no model, or an address is none.
    """
    address = parse_address(config.model, field="judge")
    if address is None:
        load = partial(load_for_sampling, config.model, mesh, dtype=dtype, track=track)
        return _local(config, load, slots=slots, cache_gib=cache_gib)
    sampling, server = config.sampling, config.server
    if config.kind == "yes":
        sampling = FIRST_TOKEN
        server = replace(server, log_probs=True, fields=LISTED | server.fields)
    model = RemoteModel(
        address,
        sampling,
        server,
        journal=my_journal(folder, JOURNAL),
        find_earlier=partial(earlier_journals, folder, JOURNAL),
    )
    where = {"url": address.url, "model": address.model}
    return OpenJudge(
        config,
        start=lambda make_room: model,
        check_server=model.check,
        usage=lambda: where | usage_summary(count_all(folder, JOURNAL), server.prices),
    )


def judge_shards(
    opened: OpenJudge,
    shards: AnswerShards,
    folder: Path,
    *,
    make_room: Callable[[], None],
    track: Track = untracked,
) -> None:
    """Score and store the answers that are not scored yet.

    One that was cut off is wrong and is known to be: it is not asked about. Of the
    others a judge reads what they say after their thinking.

    Args:
      opened: the judge; it is started where there is something to ask.
      shards: of the answers.
      folder: of its replies so far.
      make_room: called before a local judge is loaded.
      track: shows how far it is.
    """
    missing = my_shards(shards.scores.missing())
    if not missing:
        return
    ledger = JudgeLedger(
        my_journal(folder, LEDGER), earlier=earlier_journals(folder, LEDGER)
    )
    judge = opened.judge(ledger, make_room)
    for shard in track(missing, "judged shards", len(missing)):
        items = {item.id: item for item in shards.questions(shard)}
        rows = shards.answered(shard)
        shards.scores.write(shard, score_rows(judge, items, rows, sees=opened.sees))


def judge_counts(opened: OpenJudge, folder: Path) -> dict[str, Any]:
    """What was asked by all processes, and what came of it.

    Args:
      opened: the judge.
      folder: of its replies.
    """
    known = JudgeLedger(earlier=all_journals(folder, LEDGER))
    counts = known.counts()
    if opened.config.kind == "pairs":
        counts["position_bias"] = position_bias(known.read_values())
    if opened.usage is not None:
        usage = opened.usage()
        tokens = ("prompt_tokens", "completion_tokens")
        counts |= {name: usage[name] for name in tokens} | {"server": usage}
    return {"kind": opened.config.kind, "model": opened.config.model, **counts}


def score_rows(
    judge: Any, items: Mapping[str, Item], rows: Sequence[dict], *, sees: bool
) -> list[dict]:
    """The score of each answer.

    Args:
      judge: a `JudgeFn`; one that sees takes pictures besides.
      items: by the questions' ids.
      rows: of `PREDICTIONS`; those that were cut off are not asked about.
      sees: whether the judge is shown the pictures.

    Returns:
      Rows with `question_id`, `sample` and `score`, None where there is none.
    """
    whole = [row for row in rows if row["finish_reason"] == "stop"]
    pairs = [
        (row["question"], after_thinking(row["response"]).strip()) for row in whole
    ]
    images = [items[row["question_id"]].images for row in whole]
    scores = iter(judge(pairs, images) if sees else judge(pairs))

    def score(row: dict) -> float | None:
        if row["finish_reason"] != "stop":
            return None
        value = next(scores)
        return None if math.isnan(value) else value

    return [
        {
            "question_id": row["question_id"],
            "sample": row["sample"],
            "score": score(row),
        }
        for row in rows
    ]


def _local(
    config: JudgeConfig,
    load: Callable[[], Model],
    *,
    slots: int,
    cache_gib: float | None,
) -> OpenJudge:
    described = describe_model(config.model)
    tokens = _yes_tokens(described, config) if config.kind == "yes" else []
    sampling = FIRST_TOKEN if config.kind == "yes" else config.sampling
    fits = fits_in(described, sampling)

    def start(make_room: Callable[[], None]) -> GenerateFn:
        make_room()
        model = load()
        if config.kind == "yes":
            return FirstTokens(model, tokens, fits)
        engine = Engine(model, sampling, slots=slots, cache_gib=cache_gib)
        return lambda requests: FittingRun(engine, requests, fits)

    def count_tokens(request: Request) -> int:
        return len(encode_question(described, request.text, request.images))

    return OpenJudge(
        config,
        start=start,
        count_tokens=count_tokens,
        sees=described.config.vision is not None,
    )


def _yes_tokens(described: Model, config: JudgeConfig) -> list[int]:
    """The tokens of which the probability of yes is made."""
    if are_several():
        raise InputError(
            "judge_kind: expected score or pairs in a run of several processes, got yes"
        )
    tokens = tokens_that_read(described, ("yes", "no"))
    if not tokens:
        raise InputError(
            f"judge: expected tokens that read yes or no, got none in {config.model}"
        )
    return tokens
