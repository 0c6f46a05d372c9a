"""One answer out of several: by their scores, or by what most of them say.

Scores are of k answers to one question, along the last axis, larger is better; `nan` is
a missing score. Every function may be traced, and mapped over questions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.types import Array, Float, Int, Scalar, typed

__all__ = [
    "best_of_k",
    "majority_vote",
    "reward_weighted_probs",
    "reward_weighted_sample",
    "weighted_majority_vote",
]

NONE = -1  # instead of an index or an answer, where there is none


@typed
def reward_weighted_probs(
    rewards: Float[Array, "*batch sample"], *, temperature: Scalar
) -> Float[Array, "*batch sample"]:
    """How likely each of k answers is taken, when good ones are likelier.

        p_i = e^(r_i / T) / sum_j e^(r_j / T)

    A constant added to all rewards changes nothing. At T = 0 the best is taken, and
    equally good ones share evenly, as do infinite rewards at any T < inf; at T = inf
    every answer whose reward is not missing is as likely. A reward of -inf has
    probability 0 at T < inf where another is larger.

    Args:
      rewards: r, larger is better; nan is missing, and has probability 0.
      temperature: T >= 0 in units of reward, inf included. A traced value that is
        negative or nan gives nan.

    Returns:
      Probabilities, which sum to 1 over the samples; all 0 where all rewards are
      missing. float32 or better.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: there is no sample, or a concrete temperature is negative or nan.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905.
    """
    log_weights = _log_weights(rewards, temperature)
    some = jnp.any(log_weights > -jnp.inf, axis=-1, keepdims=True)
    probs = jax.nn.softmax(jnp.where(some, log_weights, 0), axis=-1)
    probs = jnp.where(some, probs, 0)
    return jnp.where(_is_temperature(temperature), probs, jnp.nan)


@typed
def reward_weighted_sample(
    key: Array, rewards: Float[Array, "*batch sample"], *, temperature: Scalar
) -> Int[Array, "*batch"]:
    """One of k answers, drawn with the probabilities of `reward_weighted_probs`.

    Args:
      key: of the draws; each row has a draw of its own.
      rewards: r, larger is better; nan is missing, and is never drawn.
      temperature: T >= 0 in units of reward, inf included.

    Returns:
      Index of the sample drawn; -1 where all rewards are missing, or where a traced
      temperature is negative or nan.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: there is no sample, or a concrete temperature is negative or nan.

    Reference:
      Halder and Pehlevan, 2025, https://arxiv.org/abs/2512.19905.
    """
    log_weights = _log_weights(rewards, temperature)
    some = jnp.any(log_weights > -jnp.inf, axis=-1)
    drawn = jax.random.categorical(key, log_weights, axis=-1)
    return jnp.where(some & _is_temperature(temperature), drawn, NONE)


@typed
def best_of_k(rewards: Float[Array, "*batch sample"]) -> Int[Array, "*batch"]:
    """The first of the best of k answers: i = argmax_i r_i.

    Args:
      rewards: r, larger is better; nan is missing, and is never the best.

    Returns:
      Index of the sample; -1 where all rewards are missing.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: there is no sample.
    """
    _check_samples(rewards.shape, "rewards")
    rewards = jnp.asarray(rewards)
    return _first_best(rewards, ~jnp.isnan(rewards))


@typed
def majority_vote(answer_ids: Int[Array, "*batch sample"]) -> Int[Array, "*batch"]:
    """The answer that most of k samples give; of equally frequent ones the first given.

    Args:
      answer_ids: equal where answers are; negative is no answer, and does not vote.

    Returns:
      The id of the answer; -1 where nobody votes.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: there is no sample.
    """
    return weighted_majority_vote(answer_ids, np.ones(answer_ids.shape, np.float32))


@typed
def weighted_majority_vote(
    answer_ids: Int[Array, "*batch sample"], weights: Float[Array, "*batch sample"]
) -> Int[Array, "*batch"]:
    """The answer whose samples weigh most together; on a tie the first given.

        argmax_a sum_i w_i [a_i = a]

    Args:
      answer_ids: equal where answers are; negative is no answer, and does not vote.
      weights: w >= 0 of each sample, such as a judge's probability that it is right;
        nan is missing, and does not vote.

    Returns:
      The id of the answer; -1 where nobody votes, or where a traced weight is negative.

    Raises:
      TypeError: shapes or dtypes differ from the signature.
      ValueError: there is no sample, or a concrete weight is negative.
    """
    _check_samples(answer_ids.shape, "answer_ids")
    _check_weights(weights)
    ids, weights = jnp.asarray(answer_ids), jnp.asarray(weights)
    votes = (ids >= 0) & ~jnp.isnan(weights)
    same = ids[..., :, None] == ids[..., None, :]
    shares = jnp.where(same & votes[..., None, :], weights[..., None, :], 0)
    chosen = _first_best(jnp.sum(shares, axis=-1), votes)
    answer = jnp.take_along_axis(ids, jnp.maximum(chosen, 0)[..., None], axis=-1)[
        ..., 0
    ]
    usable = (chosen >= 0) & ~jnp.any(weights < 0, axis=-1)
    return jnp.where(usable, answer, NONE)


def _log_weights(rewards: Array, temperature: Scalar) -> Array:
    """(r - max r) / T and its limits; -inf where the reward is missing."""
    _check_samples(rewards.shape, "rewards")
    _check_temperature(temperature)
    dtype = jnp.promote_types(jnp.result_type(rewards), jnp.float32)
    rewards, temperature = jnp.asarray(rewards, dtype), jnp.asarray(temperature, dtype)
    present = ~jnp.isnan(rewards)
    known = jnp.where(present, rewards, -jnp.inf)
    best = jax.lax.stop_gradient(jnp.max(known, axis=-1, keepdims=True))
    finite = jnp.isfinite(known) & jnp.isfinite(best)
    # Equal infinities are at no distance; else an infinite one is infinitely far.
    behind = jnp.where(finite, known, 0) - jnp.where(finite, best, 0)
    between = (temperature > 0) & (temperature < jnp.inf)
    cooled = behind / jnp.where(between, temperature, 1)
    coldest = jnp.where(behind == 0, 0.0, -jnp.inf)
    weights = jnp.where(between, cooled, jnp.where(temperature == 0, coldest, 0.0))
    none = (~finite) & (known != best) & (temperature < jnp.inf)
    return jnp.where(present & ~none, weights, -jnp.inf)


def _first_best(values: Array, allowed: Array) -> Array:
    """Index of the first of the largest allowed values along the last axis, or -1."""
    best = jnp.max(jnp.where(allowed, values, -jnp.inf), axis=-1, keepdims=True)
    is_best = allowed & (values == best)
    return jnp.where(jnp.any(allowed, axis=-1), jnp.argmax(is_best, axis=-1), NONE)


def _is_temperature(temperature: Scalar) -> Array:
    return jnp.asarray(temperature) >= 0


def _check_samples(shape: tuple[int, ...], name: str) -> None:
    if shape[-1] < 1:
        raise ValueError(f"{name}: expected at least 1 sample, got shape {shape}")


def _check_temperature(temperature: Scalar) -> None:
    if not isinstance(temperature, jax.core.Tracer) and not temperature >= 0:
        raise ValueError(f"temperature: expected >= 0, got {temperature}")


def _check_weights(weights: Array) -> None:
    if not isinstance(weights, jax.core.Tracer) and np.any(np.asarray(weights) < 0):
        raise ValueError(f"weights: expected >= 0, got {np.nanmin(weights)}")
