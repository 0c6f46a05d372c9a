"""Where reasonings come from: a model folder, a server, or one of two."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sophia_jax.generation.address import parse_address
from sophia_jax.generation.engine import Engine
from sophia_jax.generation.remote import RemoteModel
from sophia_jax.generation.usage import usage_summary
from sophia_jax.models.folder import describe_model
from sophia_jax.models.model import Model
from sophia_jax.models.tokenizer import token_counter
from sophia_jax.recipes.fitting import FittingRun, fits_in
from sophia_jax.recipes.journals import count_all, earlier_journals, my_journal
from sophia_jax.recipes.meshes import load_for_sampling
from sophia_jax.recipes.questions import Check, room_for
from sophia_jax.rollouts.routing import EASY, HARD, routed, write_routes
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sharding.together import my_shards, wait_for_all
from sophia_jax.types import GenerateFn, Request, RewardFn, Track, untracked

if TYPE_CHECKING:
    from sophia_jax.recipes.own_data import CollectConfig

__all__ = ["Reasoner", "one_of", "open_reasoners", "route_questions", "route_summary"]

ONLY = "reasoner"  # the name of one that has all questions


@dataclass(frozen=True)
class Reasoner:
    """A frozen model that answers from captions, wherever it runs.

    Attributes:
      start: gives what samples; a local model is loaded when it is first asked, after
        `make_room` was called.
      count_tokens: lengths of texts in the policy's tokens; None where its are theirs.
      checks: that it has room for a question; a server says so itself, when asked.
      check_server: raises where there is a server that cannot serve.
      usage: what all processes have asked a server, and what it cost; None of a local
        model.
    """

    start: Callable[[Callable[[], None]], GenerateFn]
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None
    checks: tuple[Check, ...] = ()
    check_server: Callable[[], None] = lambda: None
    usage: Callable[[], dict] | None = None


def open_reasoners(
    policy: Model, config: CollectConfig, folder: Path, *, track: Track = untracked
) -> dict[str, Reasoner]:
    """The reasoner, or the two of them.

    Args:
      policy: in whose tokens lengths are counted.
      config: where they are.
      folder: of the answers of servers, until they are stored elsewhere.
      track: shows how fast weights are loaded, later on.

    Returns:
      The reasoners by route, or the only one by the name "reasoner".

    Raises:
      InputError: a folder holds no model, or an address is none.
    """
    easy = ONLY if config.hard_reasoner is None else EASY
    asked = {easy: (config.reasoner, config.server)}
    if config.hard_reasoner is not None:
        asked[HARD] = (config.hard_reasoner, config.hard_server)
    reasoners = {}
    for name, (where, server) in asked.items():
        address = parse_address(where)
        if address is None:
            reasoners[name] = _local(where, policy, config, track)
        else:
            remote = RemoteModel(
                address,
                config.answer,
                server,
                journal=my_journal(folder, name),
                find_earlier=partial(earlier_journals, folder, name),
            )
            count = partial(count_all, folder, name)
            reasoners[name] = _remote(remote, policy, count)
    return reasoners


def one_of(
    reasoners: Mapping[str, Reasoner],
    routes: Mapping[str, str] | None,
    *,
    make_room: Callable[[], None],
) -> tuple[GenerateFn, Callable[[Sequence[str]], Sequence[int]] | None]:
    """What `collect_rollouts` sees of the reasoners.

    Args:
      reasoners: by route.
      routes: by question id; None where there is one reasoner.
      make_room: called before a local one is loaded.

    Returns:
      The samples' source, and what counts their tokens.
    """
    counters = [reasoner.count_tokens for reasoner in reasoners.values()]
    count_tokens = next((each for each in counters if each is not None), None)
    started = {route: each.start(make_room) for route, each in reasoners.items()}
    if routes is None:
        return started[ONLY], count_tokens
    return routed(started, routes), count_tokens


def route_questions(
    policy: Model,
    verify: RewardFn,
    tables: RolloutTables,
    config: CollectConfig,
    *,
    track: Track,
) -> dict[str, str]:
    """Which questions are easy; what is stored already is not asked again.

    Args:
      policy: the model being trained; it answers as a reasoner would, but sees.
      verify: judges the answers.
      tables: of the questions.
      config: of the routing, and the seeds.
      track: shows how far it is, in shards.

    Returns:
      The route of each question id.
    """
    missing = my_shards(tables.routes.missing())
    engine = Engine(
        policy, config.answer, slots=config.slots, cache_gib=config.cache_gib
    )
    for shard in track(missing, "routes", len(missing)):
        items = tables.questions(shard)
        rows = write_routes(engine, verify, items, config.sophia, config.routing)
        tables.routes.write(shard, rows)
    wait_for_all("the routes")
    return {row["question_id"]: row["route"] for row in tables.routes.read_all()}


def route_summary(tables: RolloutTables) -> dict:
    """How many questions went to each reasoner, and how many the policy solved."""
    rows = tables.routes.read_all()
    counts = Counter(row["route"] for row in rows)
    return {
        EASY: counts[EASY],
        HARD: counts[HARD],
        "mean_solve_rate": float(np.mean([row["solve_rate"] for row in rows])),
    }


def _remote(
    model: RemoteModel, policy: Model, count: Callable[[], Mapping[str, float]]
) -> Reasoner:
    where = {"url": model.address.url, "model": model.address.model}
    return Reasoner(
        start=lambda make_room: model,
        count_tokens=token_counter(policy),
        check_server=model.check,
        usage=lambda: where | usage_summary(count(), model.server.prices),
    )


def _local(where: str, policy: Model, config: CollectConfig, track: Track) -> Reasoner:
    model = describe_model(where)
    template, length = config.prompts.reasoner, config.answer.max_new_tokens
    check = room_for(
        model,
        length,
        lambda item: template.format(caption="", question=item.question),
        pictures=False,
    )

    def load() -> Model:
        return load_for_sampling(
            where, config.roles.reasoner, dtype=config.dtype, track=track
        )

    return Reasoner(
        start=lambda make_room: _when_asked(model, load, config, make_room),
        count_tokens=token_counter(policy, model),
        checks=(check,),
    )


def _when_asked(
    described: Model,
    load: Callable[[], Model],
    config: CollectConfig,
    make_room: Callable[[], None],
) -> GenerateFn:
    """A local model, loaded when it is asked what leaves room for its answer."""

    @functools.cache
    def engine() -> Engine:
        make_room()
        return Engine(
            load(), config.answer, slots=config.slots, cache_gib=config.cache_gib
        )

    def generate(requests: Iterable[Request]) -> FittingRun:
        return FittingRun(engine(), requests, fits_in(described, config.answer))

    return generate
