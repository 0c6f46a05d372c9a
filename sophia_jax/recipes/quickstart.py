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
TOP_P = 0.8  # of evaluation, as in the paper


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
      captions: how the policy is sampled in rollouts.
      reasonings: how the reasoner is sampled. The paper gives no temperature; 0.6 is
        what the authors of DeepSeek-R1 advise.
      rows: sequences that are sampled together; few, for a CPU's cache to hold.
    """

    seed: int = 0
    data: HandwritingConfig = field(
        default_factory=lambda: HandwritingConfig(name="quickstart")
    )
    sophia: SophiaConfig = SophiaConfig()
    base: TrainingConfig = TrainingConfig(
        optimizer=OptimizerConfig(
            num_steps=450, algorithm="muon", learning_rate=3e-3, warmup_steps=50
        ),
        batch_size=72,
        row_length=144,
        trainable=ALL_PARTS,
    )
    reasoner: TrainingConfig = TrainingConfig(
        optimizer=OptimizerConfig(
            num_steps=700, algorithm="muon", learning_rate=3e-3, warmup_steps=50
        ),
        batch_size=40,
        row_length=144,
    )
    update: TrainingConfig = TrainingConfig(
        optimizer=OptimizerConfig(num_steps=800, learning_rate=3e-3, warmup_steps=50),
        batch_size=37,
        row_length=184,
    )
    mixture: MixtureConfig = MixtureConfig()
    captions: SamplingConfig = SamplingConfig(16)
    reasonings: SamplingConfig = SamplingConfig(112, temperature=0.6)
    rows: int = 64


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
        Engine(base, config.captions, rows=config.rows),
        Engine(reasoner, config.reasonings, rows=config.rows),
        verifier.verify,
        token_counter(base),
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
        Engine(reasoner, config.reasonings, rows=config.rows),
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
    seed = config.sophia.seed
    answerer, captioner = (
        Engine(model, SamplingConfig(limit, top_p=TOP_P), rows=config.rows)
        for limit in (
            config.reasonings.max_new_tokens,
            config.captions.max_new_tokens,
        )
    )
    rows = answer_questions(answerer, verifier.verify, items, seed=seed)
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
    think = Engine(reasoner, config.reasonings, rows=config.rows)
    rows = answer_questions(think, verifier.verify, told, seed=config.sophia.seed)
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
