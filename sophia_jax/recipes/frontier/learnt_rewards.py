"""Rewards of all answers, as a model tells them that saw preferences alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sophia_jax.data.examples import Example
from sophia_jax.models.model import Model
from sophia_jax.recipes.frontier.batches import batches_of, optimizer, pack
from sophia_jax.recipes.frontier.sizes import FrontierConfig
from sophia_jax.recipes.frontier.task import END_ID, LONGEST, all_answers
from sophia_jax.training.critic import Critic, init_critic
from sophia_jax.training.reward_model import preference_step
from sophia_jax.types import Array, Float, typed

__all__ = [
    "all_rewards",
    "learn_rewards",
    "pair_accuracy",
    "reward_correlation",
    "with_end",
]


def learn_rewards(
    reference: Model,
    pairs: Sequence[tuple[Example, Example]],
    config: FrontierConfig,
    seed: int,
) -> Critic:
    """Learn from pairs what answers are worth, up to a constant for each prompt.

    The reward model is the reference with a number in the place of its next token, and
    sees each pair as often as f-DPO does.

    Args:
      reference: whose weights it starts from.
      pairs: (chosen, rejected).
      config: of all sizes.
      seed: of the order of the pairs.
    """
    adamw = optimizer(config.reward_rate, config.updates, config.warmup_steps)
    model = init_critic(reference, adamw)
    read = [tuple(map(with_end, pair)) for pair in pairs]
    rng = np.random.default_rng((seed, 5))
    batches = batches_of(read, config.batch_size // 2, rng)
    for _, chosen in zip(range(config.updates), batches, strict=False):
        packed = pack(chosen, reference.config, longest=LONGEST + 1)
        model, _ = preference_step(model, packed)
    return model


def with_end(answer: Example) -> Example:
    """With one more token, before which all of the answer has been read."""
    token_ids = np.append(answer.target_ids, np.int32(END_ID))
    return dataclasses.replace(answer, target_ids=token_ids, signals={})


def all_rewards(
    model: Critic, prompt_ids: np.ndarray
) -> Float[np.ndarray, "prompt answer"]:
    """r(x, y) of all answers, float64.

    Args:
      model: of `learn_rewards`.
      prompt_ids: Int[prompt token], as `encode_prompt` gives them.
    """
    return np.asarray(jnp.stack([_of_prompt(model, p) for p in prompt_ids]), np.float64)


@jax.jit
def _of_prompt(model: Critic, prompt_ids: Array) -> Float[Array, " answer"]:
    """Each answer by itself, in the order of `all_answers`."""
    answers = all_answers()
    ids = jnp.asarray(np.maximum(answers.token_ids, 0))  # what follows is not looked at
    prompts = jnp.broadcast_to(prompt_ids[None], (len(ids), len(prompt_ids)))
    rows = jnp.concatenate([prompts, ids], axis=1)
    positions = jnp.broadcast_to(jnp.arange(rows.shape[1])[None], rows.shape)
    decoder = nnx.merge(model.graphdef, model.params).decoder
    hidden = decoder(decoder.embed(rows), positions, jnp.ones_like(positions))
    last = jnp.asarray(len(prompt_ids) - 1 + answers.lengths)
    state = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
    return state.astype(jnp.float32) @ model.head["weight"] + model.head["bias"]


@typed
def pair_accuracy(
    rewards: Float[np.ndarray, "prompt answer"],
    places: tuple[np.ndarray, np.ndarray],
    first_wins: np.ndarray,
) -> float:
    """How often the preferred of two answers is rewarded more; a tie counts half.

    Args:
      rewards: of all answers.
      places: prompts and answers, [sample] each; 2 i and 2 i + 1 are a pair.
      first_wins: Bool[pair]
    """
    first, second = rewards[places].reshape(-1, 2).T
    margins = np.where(first_wins, first - second, second - first)
    return float(np.mean((np.sign(margins) + 1) / 2))


@typed
def reward_correlation(
    rewards: Float[np.ndarray, "prompt answer"],
    others: Float[np.ndarray, "prompt answer"],
    log_probs: Float[np.ndarray, "prompt answer"],
) -> float:
    """Of two that are standardised under a policy: the mean of their product."""
    return float(np.mean(np.sum(np.exp(log_probs) * rewards * others, axis=1)))
