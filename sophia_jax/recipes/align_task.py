"""Stages of an alignment: scores of the reference, updates, looks at held-out pairs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sophia_jax.data.examples import Example
from sophia_jax.data.preferences import Preference
from sophia_jax.generation.pictured import PicturedExamples
from sophia_jax.losses import Divergence
from sophia_jax.models.folder import describe_model
from sophia_jax.models.model import Model
from sophia_jax.models.tokenizer import token_counter
from sophia_jax.recipes.align_config import AlignConfig, divergence_of
from sophia_jax.recipes.meshes import load_for_sampling, moved_to_learn
from sophia_jax.recipes.own_answers import OwnAnswers, asked
from sophia_jax.recipes.pair_scores import (
    ReferencedPairs,
    SomeExamples,
    measure_pairs,
    missing_scores,
    pair_values,
    read_scores,
    store_scores,
)
from sophia_jax.recipes.pair_tables import write_rewards
from sophia_jax.recipes.phases import with_what_learns
from sophia_jax.recipes.preferences import plain_examples
from sophia_jax.recipes.run_folder import write_json
from sophia_jax.recipes.update import save_learnt
from sophia_jax.sharding.roles import sampling_partition
from sophia_jax.training import objectives
from sophia_jax.training.fingerprint import fingerprint
from sophia_jax.training.loop import TrainingConfig, train
from sophia_jax.training.metrics import MetricsWriter
from sophia_jax.training.scoring import score_examples
from sophia_jax.types import InputError, Request, Track

__all__ = ["Task", "learn", "make_task", "prepare"]

PAPER_BATCH = 64  # pairs in an update
LOOKS = 10  # at held-out pairs, unless told how often


@dataclass(frozen=True)
class Task:
    """What is to be done, with every size as a number.

    Attributes:
      config: as given.
      out: folder of the run.
      divergence: that its name means.
      training: sizes of the updates.
      requests: questions of held-out pairs, that the policy answers at each look.
      evaluate_every: updates between looks at held-out pairs.
      ids: of all pairs.
      plain: their members, chosen and rejected in turn, without pictures.
      images: paths of the pictures of each member.
      training_pairs, held_out_pairs: numbers of the pairs.
    """

    config: AlignConfig
    out: Path
    divergence: Divergence
    training: TrainingConfig
    requests: Sequence[Request]
    evaluate_every: int
    ids: tuple[str, ...]
    plain: Sequence[Example]
    images: Sequence[tuple[str, ...]]
    training_pairs: tuple[int, ...]
    held_out_pairs: tuple[int, ...]

    @property
    def model(self) -> Path:
        """Folder of what has learnt; it is there when all is done."""
        return self.out / "model"

    @property
    def looks(self) -> Path:
        """Folder of the metrics of held-out pairs."""
        return self.out / "training" / "f_dpo" / "held_out"

    @property
    def scoring(self) -> dict[str, int]:
        """As many answers at once as an update holds."""
        training = self.training
        pairs = -(-training.batch_size // training.micro_batches)
        return {"row_length": training.row_length, "batch_size": 2 * pairs}


def make_task(
    described: Model,
    config: AlignConfig,
    preferences: Sequence[Preference],
    held_out: Sequence[bool],
    out: Path,
) -> Task:
    """The task of some pairs, all of it checked before anything is written.

    Args:
      described: the policy, without its weights.
      config: all settings.
      preferences: all pairs.
      held_out: of each whether it is never learnt from.
      out: folder of the run.

    Raises:
      InputError: sizes do not go together, or the reference is of other tokens.
    """
    if config.reference is not None:
        _check_reference(described, config.reference)
    plain, images = plain_examples(described, preferences)
    numbers = range(len(preferences))
    training_pairs = tuple(n for n in numbers if not held_out[n])
    size = config.phase.batch_size or min(PAPER_BATCH, len(training_pairs))
    training = dataclasses.replace(config.phase, batch_size=size).sized(
        max(example.length for example in plain), len(training_pairs)
    )
    return Task(
        config=config,
        out=out,
        divergence=divergence_of(config.divergence, config.alpha),
        training=training,
        requests=asked(
            [each for each, out in zip(preferences, held_out, strict=True) if out],
            config.own_answers,
            seed=config.phase.seed,
        ),
        evaluate_every=config.evaluate_every
        or max(1, training.optimizer.num_steps // LOOKS),
        ids=tuple(each.id for each in preferences),
        plain=plain,
        images=images,
        training_pairs=training_pairs,
        held_out_pairs=tuple(n for n in numbers if held_out[n]),
    )


def prepare(task: Task, track: Track) -> tuple[Model, Sequence[Example]]:
    """The reference's scores are stored; the policy comes where it learns.

    Returns:
      The policy before its first update, and the members of all pairs.
    """
    config, folder = task.config, task.out / "reference"
    scoring = {**task.scoring, "track": track}
    if config.reference is not None and missing_scores(folder, len(task.ids)):
        model, examples = _load(task, config.reference, track)
        _check_weights(task, model)
        store_scores(folder, task.ids, model, examples, **scoring)
        del model, examples  # before the policy comes
    policy, examples = _load(task, config.policy, track)
    if config.reference is None:
        _check_weights(task, policy)
        store_scores(folder, task.ids, policy, examples, **scoring)
    return policy, examples


def learn(task: Task, policy: Model, examples: Sequence[Example], track: Track) -> None:
    """The updates, and looks at held-out pairs; the model is saved last of all.

    Args:
      task: what is to be done.
      policy: at its start.
      examples: the members of all pairs.
      track: shows the updates.
    """
    config = task.config
    lengths = [len(example.target_ids) for example in task.plain]
    reference = read_scores(task.out / "reference", task.ids, lengths)
    options = {"beta": config.beta}
    answers = _own_answers(task, policy, track)
    with contextlib.closing(_Looks(task, examples, reference, answers)) as looks:
        policy = train(
            with_what_learns(policy, config.phase),
            ReferencedPairs(examples, reference, task.training_pairs),
            objectives.f_dpo(task.divergence, **options),
            task.training,
            task.out / "training" / "f_dpo",
            measure=objectives.pair_measures(task.divergence, **options),
            watch=looks,
            track=track,
            description="f-DPO",
        )
        looks(task.training.optimizer.num_steps, policy)
    save_learnt(policy, task.model, task.out / "adapters", base=config.policy)


def _own_answers(task: Task, policy: Model, track: Track) -> OwnAnswers | None:
    """How the policy's own answers are measured, if any are asked for."""
    if not task.requests:
        return None
    config = task.config
    if config.reference is not None:
        reference, _ = _load(task, config.reference, track)
    else:
        reference = policy
    return OwnAnswers(
        reference=reference,
        requests=task.requests,
        longest=max(len(example.target_ids) for example in task.plain),
        partition=sampling_partition(
            config.phase.roles.policy,
            num_kv_heads=lambda: policy.config.text.num_kv_heads,
        ),
        scoring=task.scoring,
    )


class _Looks:
    """Looks at held-out pairs every so many updates, and writes what it sees."""

    def __init__(
        self,
        task: Task,
        examples: Sequence[Example],
        reference: Sequence[np.ndarray],
        answers: OwnAnswers | None,
    ):
        members = [2 * n + side for n in task.held_out_pairs for side in (0, 1)]
        self._task = task
        self._examples = SomeExamples(examples, members)
        self._reference = [reference[number] for number in members]
        self._answers = answers
        self._writer: MetricsWriter | None = None

    def __call__(self, step: int, policy: Model) -> None:
        task = self._task
        last = step == task.training.optimizer.num_steps
        if not self._reference or (step % task.evaluate_every and not last):
            return
        if self._writer is None:  # what a killed run wrote from here on comes again
            self._writer = MetricsWriter(task.looks, first_step=step)
        scores = self._reference
        if step or task.config.reference is not None:  # else it is the reference yet
            scores = score_examples(policy, self._examples, **task.scoring)
        values = pair_values(
            scores, self._reference, task.divergence, beta=task.config.beta
        )
        own = {} if self._answers is None else self._answers(policy)
        self._writer.write(step, measure_pairs(values, scores) | own)
        self._writer.flush()
        if last:
            ids = [task.ids[number] for number in task.held_out_pairs]
            write_rewards(task.out / "held_out", ids, values)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _load(task: Task, path: str, track: Track) -> tuple[Model, PicturedExamples]:
    """A model where policies learn, and the pairs' members as it sees them."""
    phase = task.config.phase
    on = {"learns_on": phase.partition, "dtype": phase.dtype, "track": track}
    model = load_for_sampling(path, phase.roles.policy, **on)
    examples = PicturedExamples(model, task.plain, task.images)
    encodes = examples.encodes_later
    return moved_to_learn(model, phase.partition, still_encodes=encodes), examples


def _check_weights(task: Task, reference: Model) -> None:
    """That scores of earlier tries are of these weights; they are noted at first.

    Those of the vocabulary are left out: a mesh pads them.
    """
    path = task.out / "reference.json"
    params = reference.params
    decoder = params["decoder"]
    padded = ("embedding", "lm_head")
    layers = {name: decoder[name] for name in decoder.keys() - set(padded)}
    found = {"fingerprint": fingerprint(params | {"decoder": layers})}
    if not path.exists():
        write_json(path, found)
    elif json.loads(path.read_text()) != found:
        raise InputError(
            f"{path}: expected the reference whose scores are stored beside it, got "
            "other weights; --force begins anew"
        )


def _check_reference(policy: Model, path: str) -> None:
    """That the tokens of a pair are the same for both."""
    reference = describe_model(path)
    same = {
        "tokenizer": token_counter(policy, reference) is None,
        "end token": policy.end_ids[0] == reference.end_ids[0],
        "image token": policy.config.image_token_id == reference.config.image_token_id,
        "tiles": policy.tiles == reference.tiles,
    }
    if policy.tiles is not None and same["tiles"]:
        tokens = (policy.config.tokens_per_tile, reference.config.tokens_per_tile)
        same["tokens of a tile"] = tokens[0] == tokens[1]
    if others := [name for name, is_same in same.items() if not is_same]:
        raise InputError(
            f"reference: expected the policy's tokens, got {path} with another "
            f"{' and '.join(others)}"
        )
