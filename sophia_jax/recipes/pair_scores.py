"""Pairs under a reference and under the policy: stored scores, and what they tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from sophia_jax.data.examples import Example
from sophia_jax.evaluation.calibration import (
    likelihood_calibration_error,
    preference_calibration_error,
)
from sophia_jax.evaluation.metrics import bootstrap_interval, wilson_interval
from sophia_jax.losses import Divergence, f_dpo_loss
from sophia_jax.models.model import Model
from sophia_jax.preemption import stop_if_preempted
from sophia_jax.rollouts.store import ShardedTable
from sophia_jax.training.objectives import REFERENCE
from sophia_jax.training.scoring import score_examples
from sophia_jax.types import InputError, Track, untracked

__all__ = [
    "ReferencedPairs",
    "SomeExamples",
    "measure_pairs",
    "missing_scores",
    "pair_intervals",
    "pair_values",
    "read_scores",
    "store_scores",
]

PAIRS_PER_SHARD = 256  # a killed run loses the scores of so many at most
SCORES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("chosen_log_probs", pa.list_(pa.float32()), nullable=False),
        pa.field("rejected_log_probs", pa.list_(pa.float32()), nullable=False),
    ]
)
"""One row per pair: log π_ref of each target token of its members, in nats."""


class ReferencedPairs(Sequence[tuple[Example, Example]]):
    """Groups of a chosen and a rejected answer, as `objectives.f_dpo` reads them.

    Args:
      examples: chosen and rejected in turn; pictures are encoded when one is read.
      reference: log π_ref of each one's target tokens.
      pairs: numbers of the pairs to take.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        reference: Sequence[np.ndarray],
        pairs: Sequence[int],
    ):
        self._examples = examples
        self._reference = reference
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Example, Example]:
        first = 2 * self._pairs[index]
        chosen, rejected = (
            dataclasses.replace(
                self._examples[number], signals={REFERENCE: self._reference[number]}
            )
            for number in (first, first + 1)
        )
        return chosen, rejected


class SomeExamples(Sequence[Example]):
    """Some of the examples, each read when its turn comes."""

    def __init__(self, examples: Sequence[Example], numbers: Sequence[int]):
        self._examples = examples
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Example:
        return self._examples[self._numbers[index]]


def missing_scores(folder: Path, num_pairs: int) -> list[int]:
    """The shards of a table of scores that are not there yet."""
    return _table(folder, num_pairs).missing()


def store_scores(
    folder: Path,
    ids: Sequence[str],
    model: Model,
    examples: Sequence[Example],
    *,
    row_length: int,
    batch_size: int,
    track: Track = untracked,
) -> None:
    """Compute log-probabilities of the members of all pairs, once.

    A shard of the table that is there is not made again.

    Args:
      folder: of the table.
      ids: of the pairs.
      model: the reference.
      examples: chosen and rejected in turn.
      row_length, batch_size: as of `score_examples`.
      track: shows how many shards are done.

    Raises:
      InputError: the folder has a table of another size.
    """
    table = _table(folder, len(ids))
    missing = table.missing()
    for shard in track(missing, "reference", len(missing)):
        stop_if_preempted()
        first = shard * PAIRS_PER_SHARD
        some = ids[first : first + PAIRS_PER_SHARD]
        members = range(2 * first, 2 * (first + len(some)))
        found = score_examples(
            model,
            SomeExamples(examples, members),
            row_length=row_length,
            batch_size=batch_size,
        )
        rows = zip(some, found[::2], found[1::2], strict=True)
        table.write(shard, [dict(zip(SCORES.names, row, strict=True)) for row in rows])


def read_scores(
    folder: Path, ids: Sequence[str], lengths: Sequence[int]
) -> list[np.ndarray]:
    """What `store_scores` left.

    Args:
      folder: of the table.
      ids: of the pairs.
      lengths: target tokens of each member: chosen and rejected in turn.

    Returns:
      Float32[token] of each member, in turn.

    Raises:
      InputError: the table is not whole, or of other pairs.
    """
    rows = _table(folder, len(ids)).read_all()
    found = [
        np.asarray(row[name], np.float32) for row in rows for name in SCORES.names[1:]
    ]
    if [row["id"] for row in rows] != list(ids) or list(map(len, found)) != lengths:
        raise InputError(
            f"{folder}: expected a score for each token of the run's pairs, got others"
        )
    return found


def _table(folder: Path, num_pairs: int) -> ShardedTable:
    return ShardedTable(folder, SCORES, -(-num_pairs // PAIRS_PER_SHARD))


def pair_values(
    policy: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    divergence: Divergence,
    *,
    beta: float,
) -> dict[str, np.ndarray]:
    """What `f_dpo` and `pair_measures` say of each pair.

    Args:
      policy: log π_θ of each target token: of chosen and rejected members in turn.
      reference: likewise log π_ref.
      divergence: of the rewards.
      beta: β, likewise.

    Returns:
      Float32[pair] each: `loss` (nats), `reward_margin`, `reward_accuracy`,
      `chosen_log_ratio` and `rejected_log_ratio` (nats).
    """
    ratios = _sums(policy) - _sums(reference)
    chosen, rejected = ratios.astype(np.float32).reshape(-1, 2).T.copy()
    margin = np.asarray(divergence.scaled_difference(chosen, rejected, beta))
    return {
        "loss": np.asarray(f_dpo_loss(chosen, rejected, divergence, beta=beta)),
        "reward_margin": margin,
        "reward_accuracy": (np.sign(margin) + 1) / 2,
        "chosen_log_ratio": chosen,
        "rejected_log_ratio": rejected,
    }


def measure_pairs(
    values: Mapping[str, np.ndarray], policy: Sequence[np.ndarray]
) -> dict[str, float]:
    """Means over pairs, and how well calibrated the policy is.

    Args:
      values: of `pair_values`.
      policy: as there.

    Returns:
      The mean of each; and two errors in [0, 1], `preference_calibration_error` and
      `likelihood_calibration_error`.
    """
    log_prob, lengths = _sums(policy), np.array(list(map(len, policy)))
    return {name: float(np.mean(each)) for name, each in values.items()} | {
        "preference_calibration_error": preference_calibration_error(
            values["reward_margin"]
        ),
        "likelihood_calibration_error": likelihood_calibration_error(
            log_prob[::2], lengths[::2], log_prob[1::2], lengths[1::2]
        ),
    }


def pair_intervals(
    margins: Sequence[float], questions: Sequence[str], *, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of reward margin and accuracy, over questions.

    Pairs of one question are no independent evidence: each counts by the mean of its
    pairs, and it is the questions that the bootstrap draws. Where each is wholly right
    or wholly wrong, the accuracy's is Wilson's, which tells six right ones from sixty.

    Args:
      margins: of the pairs.
      questions: equal names for pairs of one question.
      seed: of the draws.

    Returns:
      Lower and upper end by name; nothing of a single question, which tells nothing of
      others.
    """
    _, places = np.unique(np.asarray(questions), return_inverse=True)
    sizes = np.bincount(places)
    if len(sizes) < 2:
        return {}
    margin = np.asarray(margins, np.float64)
    right = np.bincount(places, (np.sign(margin) + 1) / 2) / sizes
    if np.all((right == 0) | (right == 1)):
        accuracy = wilson_interval(int(right.sum()), len(right))
    else:
        accuracy = bootstrap_interval(right, seed=seed)
    mean_margin = np.bincount(places, margin) / sizes
    return {
        "reward_margin": bootstrap_interval(mean_margin, seed=seed),
        "reward_accuracy": accuracy,
    }


def _sums(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Float64[member]: log-probabilities of whole answers."""
    return np.array([np.sum(each, dtype=np.float64) for each in scores])
