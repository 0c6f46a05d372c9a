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
from dataclasses import dataclass, field
from pathlib import Path

import jax

from sophia_jax.config import OptimizerConfig, SamplingConfig, SophiaConfig
from sophia_jax.data.datasets.handwriting import (
    Handwriting,
    HandwritingConfig,
    constant_answers,
)
from sophia_jax.data.items import read_items
from sophia_jax.data.prompts import DIGITS
from sophia_jax.evaluation.evaluate import (
    answer_questions,
    read_captions,
    save_evaluation,
    summarize,
)
from sophia_jax.generation.engine import Engine
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.model import Model
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
from sophia_jax.recipes.mixture import Mixture, MixtureConfig, answer_texts, mix
from sophia_jax.recipes.run_folder import read_seconds, stopwatch, write_json
from sophia_jax.recipes.side_by_side import side_by_side
from sophia_jax.recipes.summary import rollout_summary
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sophia import (
    collect_rollouts,
    token_counter,
    update_policy,
)
from sophia_jax.training.loop import TrainingConfig
from sophia_jax.types import Item, Track, untracked

__all__ = ["QuickstartConfig", "quickstart"]

ALL_PARTS = ("decoder", "vision", "projector")


@dataclass(frozen=True)
class QuickstartConfig:
    """Sizes of the quickstart; the paper's own where it gives any.

    Attributes:
      seed: of data, weights, samples and order.
      data: rows of each split.
      sophia: K, N, alpha.
      base: updates of the policy on captions and easy questions.
      reasoner: updates of the reasoner on worked solutions.
      update: the policy-gradient phase. The paper's rate, 2e-5, and batch, 512, suit
        billions of weights and 80K questions.
      mixture: what the update learns from beside the trajectories.
      max_caption_tokens: longest caption.
      max_answer_tokens: longest reasoning.
      rows: sequences that are sampled together.
    """

    seed: int = 0
    data: HandwritingConfig = field(
        default_factory=lambda: HandwritingConfig(name="quickstart")
    )
    sophia: SophiaConfig = SophiaConfig()
    base: TrainingConfig = TrainingConfig(
        optimizer=OptimizerConfig(num_steps=700, learning_rate=2e-3, warmup_steps=50),
        batch_size=48,
        row_length=128,
        trainable=ALL_PARTS,
    )
    reasoner: TrainingConfig = TrainingConfig(
        optimizer=OptimizerConfig(num_steps=1_100, learning_rate=2e-3, warmup_steps=50),
        batch_size=40,
        row_length=144,
    )
    update: TrainingConfig = TrainingConfig(
        optimizer=OptimizerConfig(num_steps=900, learning_rate=2e-3, warmup_steps=50),
        batch_size=24,
        row_length=144,
    )
    mixture: MixtureConfig = MixtureConfig()
    max_caption_tokens: int = 16
    max_answer_tokens: int = 96
    rows: int = 512


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
        base, reasoner = _train_models(folder, builder, config, track)

    with AnswerVerifier() as verifier:
        with stage("evaluation"):
            before = _evaluate(folder, "base", base, held_out, verifier, config)
            text_only = _reasoner_accuracy(reasoner, held_out, verifier, config)
        say(f"base       {_result(before)}; {before['parsed']:.0%} of answers parse")
        say(f"reasoner   {text_only['accuracy_on_true_captions']:.1%} on true captions")

        # SOPHIA: one collection, one update phase.
        think = Engine(
            reasoner, SamplingConfig(config.max_answer_tokens), rows=config.rows
        )
        tables = RolloutTables(folder / "rollouts", train_items)
        with stage("rollouts"):
            collect_rollouts(
                Engine(
                    base, SamplingConfig(config.max_caption_tokens), rows=config.rows
                ),
                think,
                verifier.verify,
                token_counter(base),
                tables,
                DIGITS,
                config.sophia,
                track=track,
            )
            rollouts = rollout_summary(tables)
        say(
            f"rollouts   {rollouts['captions']} captions, {rollouts['reasonings']} "
            f"reasonings, {rollouts['right']} right; kept {rollouts['kept']} of "
            f"{rollouts['num_questions']} questions"
        )
        with stage("texts"):
            texts = answer_texts(
                folder / "texts",
                think,
                verifier.verify,
                text_questions(DIGITS, config.seed, config.mixture.num_questions),
                seed=config.sophia.seed,
            )
        with stage("update"):
            mixture = mix(
                base,
                train_items,
                tables.selection.read_all(),
                texts,
                DIGITS,
                config.mixture,
                seed=config.seed,
            )
            say("update     " + _shares(mixture))
            policy = _once(
                folder / "model",
                lambda: update_policy(
                    base,
                    mixture.examples,
                    config.update,
                    folder / "training" / "sophia",
                    track=track,
                ),
            )
        with stage("evaluation"):
            after = _evaluate(folder, "sophia", policy, held_out, verifier, config)
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


def _train_models(
    folder: Path, builder: Handwriting, config: QuickstartConfig, track: Track
) -> list[Model]:
    """The base policy and the reasoner, each lacking what the other has."""
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


def _once(folder: Path, make: Callable[[], Model]) -> Model:
    """The model that a folder holds; made and saved there if it does not exist."""
    if not folder.exists():
        save_model(make(), folder)
    return load_model(folder)


def _evaluate(
    folder: Path,
    name: str,
    model: Model,
    items: tuple[Item, ...],
    verifier: AnswerVerifier,
    config: QuickstartConfig,
) -> dict:
    """pass@1 at temperature 1.0 and top-p 0.8, and the captions' accuracy."""
    sampling = SamplingConfig(config.max_answer_tokens, top_p=0.8)
    seed = config.sophia.seed
    answerer = Engine(model, sampling, rows=config.rows)
    rows = answer_questions(answerer, verifier.verify, items, seed=seed)
    captioner = Engine(
        model, SamplingConfig(config.max_caption_tokens, top_p=0.8), rows=config.rows
    )
    rows = read_captions(captioner, items, rows, prompt=DIGITS.caption, seed=seed)
    summary = summarize(rows)
    save_evaluation(folder / "evaluations" / name, rows, summary)
    return summary


def _reasoner_accuracy(
    reasoner: Model,
    items: tuple[Item, ...],
    verifier: AnswerVerifier,
    config: QuickstartConfig,
) -> dict:
    """How often the reasoner is right on true captions, sampled as in rollouts."""
    told = [
        dataclasses.replace(
            item,
            question=DIGITS.reasoner.format(
                caption=item.caption, question=item.question
            ),
            images=(),
        )
        for item in items
    ]
    generate = Engine(
        reasoner, SamplingConfig(config.max_answer_tokens), rows=config.rows
    )
    rows = answer_questions(generate, verifier.verify, told, seed=config.sophia.seed)
    summary = summarize(rows)
    return {
        "accuracy_on_true_captions": summary["pass@1"],
        "num_questions": summary["num_questions"],
        "interval": summary["interval"],
        "by_kind": summary["by_kind"],
    }


def _result(summary: dict) -> str:
    low, high = summary["interval"]
    return (
        f"pass@1 {summary['pass@1']:.1%} [{low:.1%}, {high:.1%}] on "
        f"{summary['num_questions']} held-out questions; "
        f"captions wholly right {summary['caption_accuracy']:.1%}"
    )


def _shares(mixture: Mixture) -> str:
    """How many there are of each part, and how much of what is learnt it is."""
    return ", ".join(
        f"{size} {name} ({mixture.shares[name]:.0%})"
        for name, size in mixture.sizes.items()
    )
