"""What an update minimises: functions of (log-probabilities, batch).

Each gives one value a sequence. One of one's own is such a function; what it needs
beside the reward comes as `Example.signals`, by names of this module or one's own. One
that takes options is made by a function that remembers what it made, so that equal
options are one program.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp

from sophia_jax.data.packing import PackedBatch
from sophia_jax.losses import (
    Divergence,
    constant_length_mean,
    f_dpo_loss,
    grpo_token_loss,
    preference_loss,
    sequence_log_ratio,
    sequence_mean,
    sft_loss,
    sophia_loss,
    token_mean,
    weighted_sophia_loss,
)
from sophia_jax.types import Array

__all__ = [
    "ADVANTAGE",
    "BEHAVIOR",
    "MEAN_LENGTH",
    "REFERENCE",
    "SAMPLER",
    "f_dpo",
    "grpo",
    "grpo_measures",
    "over_length",
    "over_sequence",
    "over_update",
    "off_policy_measures",
    "pair_measures",
    "preference",
    "sft",
    "sophia",
    "weighted_sophia",
]

ADVANTAGE = "advantage"  # of each answer, or of each target token (PPO)
BEHAVIOR = "behavior_log_probs"  # log μ of each target token, when it was sampled
MEAN_LENGTH = (
    "mean_length"  # target tokens a sequence, of the whole update; always there
)
REFERENCE = "reference_log_probs"  # log π_ref of each target token
SAMPLER = "sampler_log_probs"  # log π_θ of each, as the sampler computed it


def sophia(log_probs: Array, batch: PackedBatch) -> Array:
    """`sophia_loss`: log-likelihood weighted by the reward, the ratio π/μ set to 1."""
    return sophia_loss(log_probs, batch.target_mask, batch.reward)


def sft(log_probs: Array, batch: PackedBatch) -> Array:
    """`sft_loss`: plain imitation, whatever the reward."""
    return sft_loss(log_probs, batch.target_mask)


@functools.cache
def weighted_sophia(weights: Callable[..., Array], *, largest: float) -> Callable:
    """`weighted_sophia_loss`, with `sequence_weights` or others of their kind.

    Reads the signal `BEHAVIOR`.
    """

    def objective(log_probs: Array, batch: PackedBatch) -> Array:
        mask = batch.target_mask
        given = weights(log_probs, batch.signals[BEHAVIOR], mask, largest=largest)
        return weighted_sophia_loss(log_probs, mask, batch.reward, given)

    return objective


def over_sequence(token_loss: Array, batch: PackedBatch) -> Array:
    """`sequence_mean`, as in GRPO."""
    return sequence_mean(token_loss, batch.target_mask)


def over_update(token_loss: Array, batch: PackedBatch) -> Array:
    """`token_mean` over the tokens of the whole update, as in DAPO."""
    mean_length = batch.signals[MEAN_LENGTH][0]
    return token_mean(token_loss, batch.target_mask, mean_length=mean_length)


@functools.cache
def over_length(length: float) -> Callable:
    """`constant_length_mean`, as in Dr. GRPO."""

    def reduce(token_loss: Array, batch: PackedBatch) -> Array:
        return constant_length_mean(token_loss, batch.target_mask, length=length)

    return reduce


@functools.cache
def grpo(
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_coefficient: float = 0.0,
    reduce: Callable[[Array, PackedBatch], Array] = over_sequence,
) -> Callable:
    """`grpo_token_loss`, reduced to a value a sequence.

    Reads the signals `ADVANTAGE` and `BEHAVIOR`, and with a KL term `REFERENCE`.

    Args:
      clip_low, clip_high, kl_coefficient: as of `grpo_token_loss`.
      reduce: of (token loss, batch): `over_sequence`, `over_update`, `over_length` of
        some tokens, or a function of one's own.
    """

    def objective(log_probs: Array, batch: PackedBatch) -> Array:
        token_loss = grpo_token_loss(
            log_probs,
            batch.signals[BEHAVIOR],
            batch.signals[ADVANTAGE],
            batch.target_mask,
            clip_low=clip_low,
            clip_high=clip_high,
            reference_log_probs=batch.signals[REFERENCE] if kl_coefficient else None,
            kl_coefficient=kl_coefficient,
        )
        return reduce(token_loss, batch)

    return objective


@functools.cache
def f_dpo(divergence: Divergence, *, beta: float = 0.1) -> Callable:
    """`f_dpo_loss` of pairs: groups of a chosen and a rejected answer, in this order.

    Reads the signal `REFERENCE`. The value of both members is their pair's, so the
    mean over sequences is that over pairs.
    """

    def objective(log_probs: Array, batch: PackedBatch) -> Array:
        chosen, rejected = _pair_log_ratios(log_probs, batch)
        losses = f_dpo_loss(chosen, rejected, divergence, beta=beta)
        return _for_both(losses, batch)

    return objective


def preference(log_probs: Array, batch: PackedBatch) -> Array:
    """`preference_loss` of pairs whose rewards are their log-likelihoods.

        r(x, y) = log π(y | x)

    So a model becomes a judge that reads every token of an answer: f-DPO under the
    reverse KL with β = 1 and a reference to which all answers are the same. Groups and
    values are as of `f_dpo`.
    """
    rewards = jnp.sum(log_probs, axis=1, where=batch.target_mask)
    chosen, rejected = rewards.reshape(-1, 2).T
    return _for_both(preference_loss(chosen, rejected), batch)


def off_policy_measures(log_probs: Array, batch: PackedBatch) -> dict[str, Array]:
    """How far the policy is from who sampled the answers, where that is known.

    The paper's lemma A.3 takes the ratio of a whole sequence for nearly 1: its
    logarithm, in nats, should be near 0.
    """
    mask = batch.target_mask
    if BEHAVIOR in batch.signals:
        ratio = sequence_log_ratio(log_probs, batch.signals[BEHAVIOR], mask)
    else:
        ratio = jnp.sum(log_probs, where=mask, axis=1) - batch.behavior_log_prob
    return {"log_ratio": ratio, "absolute_log_ratio": jnp.abs(ratio)}


@functools.cache
def grpo_measures(*, clip_low: float = 0.2, clip_high: float = 0.2) -> Callable:
    """`off_policy_measures`, and of all tokens of the update:

    `clip_share`, the share whose ratio is beyond its clip, so that they teach nothing;
    `sampler_gap`, the mean of |log π_θ - log π_θ of the sampler|. Before the first
    update on an answer the weights are the same, and the gap is what rounding makes.

    Reads the signals `ADVANTAGE` and `BEHAVIOR`, and `SAMPLER` where it is there.
    """

    def measure(log_probs: Array, batch: PackedBatch) -> dict[str, Array]:
        mask, mean_length = batch.target_mask, batch.signals[MEAN_LENGTH][0]

        def of_tokens(values: Array) -> Array:
            return jnp.sum(values, axis=1, where=mask) / mean_length

        ratio = log_probs - batch.signals[BEHAVIOR]
        gains = batch.signals[ADVANTAGE].reshape(len(mask), -1)
        high, low = ratio > math.log1p(clip_high), ratio < _log(1 - clip_low)
        clipped = ((gains > 0) & high) | ((gains < 0) & low)
        found = {"clip_share": of_tokens(clipped.astype(log_probs.dtype))}
        if SAMPLER in batch.signals:
            gap = jnp.abs(log_probs - batch.signals[SAMPLER])
            found["sampler_gap"] = of_tokens(gap)
        return off_policy_measures(log_probs, batch) | found

    return measure


def _log(number: float) -> float:
    return math.log(number) if number > 0 else -math.inf


@functools.cache
def pair_measures(divergence: Divergence, *, beta: float = 0.1) -> Callable:
    """Of pairs: by how much and how often the chosen is rewarded more; log-ratios."""

    def measure(log_probs: Array, batch: PackedBatch) -> dict[str, Array]:
        chosen, rejected = _pair_log_ratios(log_probs, batch)
        margin = divergence.scaled_difference(chosen, rejected, beta)
        found = {
            "reward_margin": margin,
            # An undecided pair is half right.
            "reward_accuracy": (jnp.sign(margin) + 1) / 2,
            "chosen_log_ratio": chosen,
            "rejected_log_ratio": rejected,
        }
        return {name: _for_both(values, batch) for name, values in found.items()}

    return measure


def _pair_log_ratios(log_probs: Array, batch: PackedBatch) -> tuple[Array, Array]:
    ratio = sequence_log_ratio(log_probs, batch.signals[REFERENCE], batch.target_mask)
    chosen, rejected = ratio.reshape(-1, 2).T
    return chosen, rejected


def _for_both(values: Array, batch: PackedBatch) -> Array:
    some = jnp.any(batch.target_mask, axis=1)
    return jnp.where(some, jnp.repeat(values, 2), 0)
