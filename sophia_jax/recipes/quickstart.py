"""The whole loop on real handwriting, on a CPU, in minutes.

A small vision-language model learns to read handwritten digits, but not to calculate
beyond one digit. A small text-only reasoner learns to calculate, but never sees a
picture. Then SOPHIA: the first learns to calculate step by step from its own captions
and the second's reasoning.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax

from sophia_jax.data.datasets.handwriting import Handwriting, constant_answers
from sophia_jax.data.items import read_items
from sophia_jax.data.prompts import DIGITS
from sophia_jax.generation.engine import Engine
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.model import Model
from sophia_jax.models.tokenizer import token_counter
from sophia_jax.paths import is_whole
from sophia_jax.recipes.handwriting import (
    base_model,
    make_data,
    make_tokenizer,
    reasoner_model,
    text_questions,
    train_base,
    train_reasoner,
)
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.recipes.mixture import Mixture, answer_texts, mix
from sophia_jax.recipes.run_folder import (
    read_seconds,
    remove_leftovers,
    stopwatch,
    write_json,
)
from sophia_jax.recipes.scores import score_policy, score_reasoner
from sophia_jax.recipes.side_by_side import side_by_side
from sophia_jax.recipes.sizes import QuickstartConfig
from sophia_jax.recipes.summary import rollout_summary
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sophia import collect_rollouts, update_policy
from sophia_jax.types import Item, Track, untracked

__all__ = ["quickstart", "train_models"]


def quickstart(
    folder: Path,
    config: QuickstartConfig,
    *,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> dict:
    """Run everything that `folder` does not hold yet.

    Args:
      folder: of the run; a stage that left its result there is not run again.
      config: all sizes.
      track: shows the progress of long stages.
      say: prints a line for each stage.

    Returns:
      What is written to `summary.json`.
    """
    stage = functools.partial(stopwatch, folder)

    with stage("data"):
        builder = make_data(folder / "data", config.data)
        train_items = read_items(folder / "data" / "train").items
        held_out = read_items(folder / "data" / "held_out").items
        constant = constant_answers([(item.kind, item.answer) for item in held_out])
    say(
        f"data       {len(train_items)} training, {len(held_out)} held-out questions; "
        f"the best constant answer is right for "
        f"{max(kind['share'] for kind in constant.values()):.1%} of a kind at most"
    )
    with stage("models"):
        base, reasoner = train_models(folder, builder, config, track)

    with AnswerVerifier() as verifier:
        asked = (verifier.verify, held_out, DIGITS, config)
        with stage("evaluation"):
            before = score_policy(folder / "evaluations" / "base", base, *asked)
            text_only = score_reasoner(reasoner, *asked)
        say(f"base       {_result(before)}; {before['parsed']:.0%} of answers parse")
        say(f"reasoner   {text_only['accuracy_on_true_captions']:.1%} on true captions")

        # SOPHIA: one collection, one update phase.
        with stage("rollouts"):
            tables = _collect(
                folder, base, reasoner, train_items, verifier, config, track
            )
            rollouts = rollout_summary(tables)
        say(f"rollouts   {_counts(rollouts)}")
        with stage("texts"):
            texts = _answer_texts(folder, reasoner, verifier, config)
        with stage("update"):
            selection = tables.selection.read_all()
            mixture = mix(
                base,
                train_items,
                selection,
                texts,
                DIGITS,
                config.mixture,
                seed=config.seed,
            )
            say(f"update     {_shares(mixture)}")
            policy = _update(folder, base, mixture, config, track)

        with stage("evaluation"):
            after = score_policy(folder / "evaluations" / "sophia", policy, *asked)
        say(f"SOPHIA     {_result(after)}")

    summary = {
        "held_out": {"base": before, "sophia": after},
        "constant_answer": constant,
        "reasoner": text_only,
        "rollouts": rollouts,
        "mixture": {"sizes": mixture.sizes, "shares": mixture.shares},
        "seconds": read_seconds(folder),
        "versions": versions(),
        "machine": machine(),
        "settings": dataclasses.asdict(config.sophia) | {"seed": config.seed},
    }
    write_json(folder / "summary.json", summary)
    return summary


def train_models(
    folder: Path,
    builder: Handwriting,
    config: QuickstartConfig,
    track: Track = untracked,
) -> list[Model]:
    """The base policy and the reasoner, each lacking what the other has.

    Args:
      folder: of the run; a model that it holds, in `base` or `reasoner`, is loaded.
      builder: of the pictures that the base policy learns to read.
      config: all sizes.
      track: shows both trainings, which go on side by side.

    Returns:
      The two models.
    """
    key, tokenizer = jax.random.key(config.seed), make_tokenizer(DIGITS, config.seed)
    return side_by_side(
        track,
        lambda track: _once(
            folder / "base",
            lambda: train_base(
                base_model(jax.random.fold_in(key, 0), tokenizer),
                builder,
                config.base,
                folder / "training" / "base",
                track,
                config.seed,
            ),
        ),
        lambda track: _once(
            folder / "reasoner",
            lambda: train_reasoner(
                reasoner_model(jax.random.fold_in(key, 1), tokenizer),
                DIGITS,
                config.reasoner,
                folder / "training" / "reasoner",
                track,
                config.seed,
            ),
        ),
    )


def _collect(
    folder: Path,
    base: Model,
    reasoner: Model,
    items: tuple[Item, ...],
    verifier: AnswerVerifier,
    config: QuickstartConfig,
    track: Track,
) -> RolloutTables:
    """Captions, reasonings and the selection, for all training questions."""
    tables = RolloutTables(folder / "rollouts", items)
    collect_rollouts(
        Engine(base, config.captions, slots=config.slots),
        Engine(reasoner, config.reasonings, slots=config.slots),
        verifier.verify,
        token_counter(base, reasoner),
        tables,
        DIGITS,
        config.sophia,
        track=track,
    )
    return tables


def _answer_texts(
    folder: Path, reasoner: Model, verifier: AnswerVerifier, config: QuickstartConfig
) -> list[dict]:
    """The reasoner's right answers to questions without a picture."""
    return answer_texts(
        folder / "texts",
        Engine(reasoner, config.reasonings, slots=config.slots),
        verifier.verify,
        text_questions(DIGITS, config.seed, config.mixture.num_questions),
        seed=config.sophia.seed,
    )


def _update(
    folder: Path, base: Model, mixture: Mixture, config: QuickstartConfig, track: Track
) -> Model:
    """SOPHIA's update phase."""
    return _once(
        folder / "model",
        lambda: update_policy(
            base,
            mixture.examples,
            config.update,
            folder / "training" / "sophia",
            track=track,
        ),
    )


def _once(folder: Path, make: Callable[[], Model]) -> Model:
    """The model that a folder holds; made and saved there if it does not exist."""
    if not is_whole(folder):
        remove_leftovers(folder)
        save_model(make(), folder)
    return load_model(folder)


def _result(summary: dict) -> str:
    low, high = summary["interval"]
    return (
        f"pass@1 {summary['pass@1']:.1%} [{low:.1%}, {high:.1%}] on "
        f"{summary['num_questions']} held-out questions; "
        f"captions wholly right {summary['caption_accuracy']:.1%}"
    )


def _counts(rollouts: dict) -> str:
    return (
        f"{rollouts['captions']} captions, {rollouts['reasonings']} reasonings, "
        f"{rollouts['right']} right; kept {rollouts['kept']} of "
        f"{rollouts['num_questions']} questions"
    )


def _shares(mixture: Mixture) -> str:
    """How many there are of each part, and how much of what is learnt it is."""
    return ", ".join(
        f"{size} {name} ({mixture.shares[name]:.0%})"
        for name, size in mixture.sizes.items()
    )
