"""What the arms of one seed share: data, models, and rollouts with every outcome."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from sophia_jax.data.datasets.handwriting import Handwriting
from sophia_jax.data.items import read_items
from sophia_jax.data.prompts import DIGITS
from sophia_jax.generation.engine import Engine
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.model import Model
from sophia_jax.models.tokenizer import token_counter
from sophia_jax.paths import is_whole
from sophia_jax.recipes.compare.outcomes import Outcomes, read_outcomes
from sophia_jax.recipes.compare.rows_of_kinds import RowsOfKinds
from sophia_jax.recipes.compare.sizes import CompareConfig
from sophia_jax.recipes.handwriting import (
    base_model,
    make_data,
    make_tokenizer,
    reasoner_model,
    train_base,
    train_reasoner,
)
from sophia_jax.recipes.run_folder import remove_leftovers, stopwatch
from sophia_jax.recipes.sizes import QuickstartConfig
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sophia import caption_pictures, reason_from_captions
from sophia_jax.types import Item, RewardFn, Track

__all__ = ["Laboratory", "once", "prepare", "rollout_tables"]

PRETRAINED, BASE, TRUE = "pretrained", "base", "true"  # whose captions


@dataclass(frozen=True)
class Laboratory:
    """One seed's material.

    Attributes:
      folder: of the seed.
      sizes: of the comparison.
      config: those of the seed.
      verify: judges answers.
      models: `pretrained`, which has seen captions alone; `base`, the same after the
        warm-up; `reasoner`.
      items: the training questions.
      held_out: the questions of evaluation.
      outcomes: of the reasonings from the captions of `base`, from those of
        `pretrained`, and from `true` ones.
    """

    folder: Path
    sizes: CompareConfig
    config: QuickstartConfig
    verify: RewardFn
    models: dict[str, Model]
    items: tuple[Item, ...]
    held_out: tuple[Item, ...]
    outcomes: dict[str, Outcomes]


def prepare(
    folder: Path,
    config: CompareConfig,
    seed: int,
    captioners: Sequence[str],
    verify: RewardFn,
    *,
    track: Track,
) -> Laboratory:
    """Make everything of a seed that its folder does not hold yet.

    Args:
      folder: of the seed.
      config: of the comparison.
      seed: one of its seeds.
      captioners: whose captions are reasoned from.
      verify: judges answers.
      track: shows the progress of long stages.
    """
    sizes = config.of_seed(seed)
    stage = functools.partial(stopwatch, folder)
    with stage("data"):
        builder = make_data(folder / "data", sizes.data)
        items, held_out = (
            read_items(folder / "data" / split).items for split in ("train", "held_out")
        )
    with stage("models"):
        models = _train_models(folder, builder, config, sizes, track)
    outcomes = {}
    for name in captioners:
        with stage(f"rollouts from {name} captions"):
            outcomes[name] = _roll_out(
                folder, name, models, items, verify, sizes, track
            )
    return Laboratory(folder, config, sizes, verify, models, items, held_out, outcomes)


def once(folder: Path, make: Callable[[], Model]) -> Model:
    """The model that a folder holds; made and saved there if it does not exist."""
    if not is_whole(folder):
        remove_leftovers(folder)
        save_model(make(), folder)
    return load_model(folder)


def rollout_tables(folder: Path, name: str, items: Sequence[Item]) -> RolloutTables:
    """The rollouts of a seed from one captioner's captions."""
    return RolloutTables(folder / "rollouts" / name, tuple(items))


def _train_models(
    folder: Path,
    builder: Handwriting,
    config: CompareConfig,
    sizes: QuickstartConfig,
    track: Track,
) -> dict[str, Model]:
    """The reasoner; then the base, whose decoder begins as the reasoner's.

    So is an InternVL built: of a language model that can think in text, and that learns
    to read pictures, but not to think about them. Captions alone are its pretraining,
    easy questions beside captions its warm-up.
    """
    seed = sizes.seed
    key, tokenizer = jax.random.key(seed), make_tokenizer(DIGITS, seed)
    training = folder / "training"

    def read(name: str, start: Model, kinds: tuple[str, ...], phase) -> Model:
        rows = RowsOfKinds(builder, kinds)
        return once(
            folder / name,
            lambda: train_base(start, rows, phase, training / name, track, seed),
        )

    reasoner = once(
        folder / "reasoner",
        lambda: train_reasoner(
            reasoner_model(jax.random.fold_in(key, 1), tokenizer),
            DIGITS,
            sizes.reasoner,
            training / "reasoner",
            track,
            seed,
        ),
    )
    fresh = base_model(jax.random.fold_in(key, 0), tokenizer)
    params = {**fresh.params, "decoder": reasoner.params["decoder"]}
    blind = dataclasses.replace(fresh, params=params)
    pretrained = read(PRETRAINED, blind, ("caption",), sizes.base)
    base = read(BASE, pretrained, ("caption", "perception"), config.warm_up)
    return {PRETRAINED: pretrained, BASE: base, "reasoner": reasoner}


def _roll_out(
    folder: Path,
    name: str,
    models: dict[str, Model],
    items: tuple[Item, ...],
    verify: RewardFn,
    sizes: QuickstartConfig,
    track: Track,
) -> Outcomes:
    """Captions, and N reasonings from each, every one of them to its end."""
    tables = rollout_tables(folder, name, items)
    sophia = sizes.sophia
    if name == TRUE:
        sophia = dataclasses.replace(sophia, num_captions=1)
        _write_true_captions(tables)
    else:
        captioner = Engine(models[name], sizes.captions, slots=sizes.slots)
        caption_pictures(captioner, tables, DIGITS, sophia, track=track)
    reasoner = Engine(models["reasoner"], sizes.reasonings, slots=sizes.slots)
    reason_from_captions(reasoner, verify, tables, DIGITS, sophia, track=track)
    return read_outcomes(
        items,
        tables.reasonings.read_all(),
        token_counter(models[BASE], models["reasoner"]),
        captions=sophia.num_captions,
        reasonings=sophia.num_reasonings,
    )


def _write_true_captions(tables: RolloutTables) -> None:
    """One caption a question, that no model wrote: of a perception from outside."""
    for shard in tables.captions.missing():
        tables.captions.write(
            shard,
            [
                {
                    "question_id": item.id,
                    "caption": 0,
                    "prompt": "",
                    "text": item.caption,
                    "token_ids": [],
                    "behavior_log_probs": None,
                    "policy_log_probs": None,
                    "finish_reason": "stop",
                    "reward": None,
                    "seed": 0,
                }
                for item in tables.questions(shard)
            ],
        )
