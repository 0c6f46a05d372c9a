"""The first half of the loop on the user's own models and questions: the collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sophia_jax.config import (
    Dtype,
    RoutingConfig,
    SamplingConfig,
    ServerConfig,
    SophiaConfig,
)
from sophia_jax.data.good_rows import ItemFile
from sophia_jax.data.prompts import Prompts
from sophia_jax.generation.address import parse_address
from sophia_jax.generation.engine import Engine
from sophia_jax.models.folder import save_model
from sophia_jax.models.model import Model
from sophia_jax.paths import is_whole
from sophia_jax.recipes.leak_check import drop_leaks
from sophia_jax.recipes.lessons import read_lessons
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.meshes import load_for_sampling
from sophia_jax.recipes.phases import UpdateConfig, imitate
from sophia_jax.recipes.questions import (
    can_be_judged,
    digest,
    keep_fitting,
    load_vision_model,
    read_questions,
    room_for,
)
from sophia_jax.recipes.reasoners import (
    Reasoner,
    one_of,
    open_reasoners,
    route_questions,
    route_summary,
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
from sophia_jax.recipes.summary import rollout_summary
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sharding import Roles
from sophia_jax.sophia import collect_rollouts
from sophia_jax.types import Item, RewardFn, Track, untracked

__all__ = ["CollectConfig", "WarmUp", "collect"]


@dataclass(frozen=True)
class WarmUp:
    """Supervised tuning before the collection.

    Attributes:
      data: a source of questions whose answers are the texts to be learnt.
      phase: of the updates.
    """

    data: str
    phase: UpdateConfig


@dataclass(frozen=True)
class CollectConfig:
    """Everything that a collection depends on.

    Attributes:
      policy: folder or repository of the model being trained.
      reasoner: folder or repository of the frozen model that is told the captions, or
        `openai:URL#MODEL` of one on a server.
      data: a source of questions, as of `read_source`.
      caption: how captions are sampled.
      answer: how reasonings are sampled.
      prompts: for both models.
      sophia: K, N, alpha and the seed.
      limit: how many questions are taken at most; None for all.
      questions_per_shard: one file of each table holds this many questions.
      slots: sequences that are sampled together.
      cache_gib: memory for keys and values, as in `Engine`.
      warm_up: of the policy, or None.
      server: how the reasoner is asked, if it is on one.
      hard_reasoner: of questions that the policy seldom solves; None: `reasoner`.
      hard_server: how that one is asked.
      routing: which questions are hard.
      exclude: benchmarks, whose questions and pictures are left out of all that is
        learnt from.
      dtype: of the weights of policy and reasoner, and of the warm-up's.
      roles: the devices of policy and reasoner.
    """

    policy: str
    reasoner: str
    data: str
    caption: SamplingConfig
    answer: SamplingConfig
    prompts: Prompts
    sophia: SophiaConfig
    limit: int | None = None
    questions_per_shard: int = 128
    slots: int = 256
    cache_gib: float | None = None
    roles: Roles = Roles()
    warm_up: WarmUp | None = None
    server: ServerConfig = ServerConfig()
    hard_reasoner: str | None = None
    hard_server: ServerConfig = ServerConfig()
    routing: RoutingConfig = RoutingConfig()
    exclude: tuple[str, ...] = ()
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        for name in ("questions_per_shard", "slots"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected >= 1, got {getattr(self, name)}")


def collect(
    run: Path,
    config: CollectConfig,
    *,
    skip_bad_rows: bool = False,
    resume: bool = False,
    force: bool = False,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Captions, reasonings and the selection for the user's questions.

    Everything is checked before the run's folder is made: rows, pictures, models, and
    that each prompt fits. A caption that leaves the reasoner no room for its answer
    earns no reward; such captions are counted.

    Args:
      run: folder of the run.
      config: all settings.
      skip_bad_rows: leave bad and too long rows out and list them in `skipped.txt`.
      resume: go on with a collection of the same settings.
      force: delete what an earlier run left in the folder.
      track: shows the progress of long stages.
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
    policy = load_vision_model(
        config.policy,
        config.roles.policy,
        learns_on=None if config.warm_up is None else config.warm_up.phase.partition,
        dtype=config.dtype,
        track=track,
    )
    reasoners = open_reasoners(policy, config, run / "reasoner", track=track)
    questions = keep_fitting(
        questions,
        _checks(policy, reasoners, config),
        config.data,
        skip_bad_rows=skip_bad_rows,
    )
    lessons = ItemFile(items=(), skipped=())
    if config.warm_up is not None:
        lessons = read_lessons(
            policy, config.warm_up.data, exclude=config.exclude, **reading
        )
    tables = RolloutTables(
        run / "rollouts", questions.items, config.questions_per_shard
    )
    if force or tables.reasonings.missing():
        for reasoner in reasoners.values():
            reasoner.check_server()
    open_run_folder(run, settings, resume=resume, force=force)
    skipped = questions.skipped + lessons.skipped
    write_skipped(run, skipped)
    say(f"data       {len(questions.items)} questions, {len(skipped)} rows skipped")
    if config.warm_up is not None:
        with stopwatch(run, "warm-up"):
            policy = _warmed_up(
                policy, lessons.items, config.warm_up.phase, run, track=track
            )
    with stopwatch(run, "rollouts"), AnswerVerifier() as verifier:
        _roll_out(policy, reasoners, verifier.verify, tables, config, track)
    summary = _summary(run, tables, config, reasoners, skipped)
    write_json(run / "summary.json", summary)
    return summary


def _roll_out(
    policy: Model,
    reasoners: Mapping[str, Reasoner],
    verify: RewardFn,
    tables: RolloutTables,
    config: CollectConfig,
    track: Track,
) -> None:
    """Everything that is sampled. The policy is given up when a local reasoner comes,
    before which all captions are there: so the models take turns in memory."""
    routes = None
    if config.hard_reasoner is not None:
        routes = route_questions(policy, verify, tables, config, track=track)
    captioner = Engine(
        policy, config.caption, slots=config.slots, cache_gib=config.cache_gib
    )
    reasoner, count_tokens = one_of(reasoners, routes, make_room=captioner.give_up)
    collect_rollouts(
        captioner,
        reasoner,
        verify,
        count_tokens,
        tables,
        config.prompts,
        config.sophia,
        track=track,
    )


def _settings(config: CollectConfig) -> dict[str, Any]:
    """All that decides the results: a server may be found elsewhere next time, and be
    asked in another manner."""
    settings = asdict(config)
    del settings["roles"]  # where it runs is no matter of results
    if settings["warm_up"] is not None:
        del settings["warm_up"]["phase"]["roles"]
    pairs = [("reasoner", "server"), ("hard_reasoner", "hard_server")]
    for name, server in pairs:
        manner = settings.pop(server)
        where = settings[name]
        address = None if where is None else parse_address(where)
        if address is not None:
            settings[name] = f"openai:#{address.model}"
            settings[server] = {key: manner[key] for key in ("fields", "log_probs")}
    if config.hard_reasoner is None:
        del settings["hard_reasoner"], settings["routing"]
    return settings


def _checks(
    policy: Model, reasoners: Mapping[str, Reasoner], config: CollectConfig
) -> list:
    """That all prompts fit, as far as they are known before the captions are."""
    prompts = config.prompts
    answer = 1 if config.hard_reasoner is None else config.answer.max_new_tokens
    return [
        can_be_judged,
        room_for(policy, config.caption.max_new_tokens, lambda item: prompts.caption),
        room_for(policy, answer, lambda item: item.question),
        *(check for reasoner in reasoners.values() for check in reasoner.checks),
    ]


def _warmed_up(
    policy: Model,
    lessons: Sequence[Item],
    phase: UpdateConfig,
    run: Path,
    *,
    track: Track,
) -> Model:
    folder = run / "warm_up"
    if not is_whole(folder):
        remove_leftovers(folder)
        training = run / "training" / "warm_up"
        save_model(imitate(policy, lessons, phase, training, track=track), folder)
    return load_for_sampling(folder, phase.roles.policy, dtype=phase.dtype)


def _captions_too_long(tables: RolloutTables) -> int:
    """Captions from which nothing could be asked."""
    unsaid = {
        (row["question_id"], row["caption"])
        for shard in range(tables.num_shards)
        for row in tables.reasonings.read(shard)
        if row["finish_reason"] == "too_long"
    }
    return len(unsaid)


def _summary(
    run: Path,
    tables: RolloutTables,
    config: CollectConfig,
    reasoners: Mapping[str, Reasoner],
    skipped: Sequence[str],
) -> dict:
    too_long = {"captions_too_long_for_reasoner": _captions_too_long(tables)}
    servers = {
        route: reasoner.usage()
        for route, reasoner in reasoners.items()
        if reasoner.usage is not None
    }
    return {
        "rollouts": rollout_summary(tables) | too_long,
        **({"servers": servers} if servers else {}),
        **({} if config.hard_reasoner is None else {"routes": route_summary(tables)}),
        "skipped": len(skipped),
        "skipped_by_reason": count_reasons(skipped),
        "seconds": read_seconds(run),
        "versions": versions(),
        "machine": machine(),
        "settings": asdict(config.sophia),
    }
