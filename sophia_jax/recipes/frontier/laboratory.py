"""What the arms of one seed share: the reference, the pairs, the rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sophia_jax.data.examples import Example
from sophia_jax.data.packing import PackedBatch
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.model import Model
from sophia_jax.paths import is_whole
from sophia_jax.recipes.frontier.batches import batches_of, pack
from sophia_jax.recipes.frontier.exact import answer_log_probs
from sophia_jax.recipes.frontier.learnt_rewards import all_rewards, learn_rewards
from sophia_jax.recipes.frontier.reference import make_reference, prompt_ids
from sophia_jax.recipes.frontier.samples import (
    Samples,
    draw_samples,
    sampler,
    shuffled,
)
from sophia_jax.recipes.frontier.sizes import FrontierConfig
from sophia_jax.recipes.frontier.task import PROMPTS, draw_task, raw_rewards
from sophia_jax.recipes.run_folder import remove_leftovers
from sophia_jax.training import objectives
from sophia_jax.types import Float

__all__ = ["Laboratory", "make_laboratory", "standardised"]


@dataclass(frozen=True)
class Laboratory:
    """What the arms of one seed share.

    Attributes:
      seed: of task, reference, pairs and samples.
      reference: where every arm starts.
      prompt_ids: Int32[prompt token]
      log_probs: Float[prompt answer], the reference's, of all answers.
      rewards: Float[prompt answer], the true ones: `standardised` under the reference.
      learnt_rewards: what a model learnt of them from the pairs, likewise standardised.
      pool: the reference's answers, from which pairs are made and the best are chosen.
      first_wins: Bool[pair], whether the first of the pool's answers 2 i and 2 i + 1 is
        preferred. The last ones are held out.
      pair_batches: of every update that learns from pairs, the same for all prices.
    """

    seed: int
    reference: Model
    prompt_ids: np.ndarray
    log_probs: np.ndarray
    rewards: np.ndarray
    learnt_rewards: np.ndarray
    pool: Samples
    first_wins: np.ndarray
    pair_batches: Sequence[PackedBatch]


def make_laboratory(config: FrontierConfig, seed: int, folder: Path) -> Laboratory:
    """Everything that one seed's arms need; the reference is kept in a folder."""
    path, task = folder / "reference", draw_task(seed)
    if not is_whole(path):
        remove_leftovers(path)
        save_model(make_reference(task, config, seed), path)
    reference = load_model(path)
    prompts = prompt_ids(reference)
    log_probs = answer_log_probs(reference, prompts)
    rewards = standardised(raw_rewards(task), log_probs)
    num_pairs = config.num_pairs + config.num_held_out
    pool = draw_samples(sampler(reference), 2 * num_pairs // len(PROMPTS), seed, "pool")
    pool = shuffled(pool, np.random.default_rng((seed, 2)))
    first, second = rewards[pool.prompts, pool.answers].reshape(-1, 2).T
    # Bradley-Terry: P(first wins) = σ(r_1 - r_2)
    chances = 1 / (1 + np.exp(second - first))
    wins = np.random.default_rng((seed, 3)).random(len(chances)) < chances
    pairs = preference_pairs(prompts, pool, wins)[: config.num_pairs]
    learnt = all_rewards(learn_rewards(reference, pairs, config, seed), prompts)
    return Laboratory(
        seed=seed,
        reference=reference,
        prompt_ids=prompts,
        log_probs=log_probs,
        rewards=rewards,
        learnt_rewards=standardised(learnt, log_probs),
        pool=pool,
        first_wins=wins,
        pair_batches=pair_batches(pairs, reference, config, seed),
    )


def preference_pairs(
    prompts: np.ndarray, pool: Samples, first_wins: np.ndarray
) -> list[tuple[Example, Example]]:
    """(chosen, rejected), with what the reference thought of them."""
    answers = [
        Example(
            prompt_ids=prompts[prompt],
            target_ids=token_ids,
            signals={objectives.REFERENCE: log_probs},
        )
        for prompt, token_ids, log_probs in zip(
            pool.prompts, pool.token_ids, pool.log_probs, strict=True
        )
    ]
    both = zip(answers[::2], answers[1::2], first_wins, strict=True)
    return [(one, two) if wins else (two, one) for one, two, wins in both]


def pair_batches(
    pairs: Sequence[tuple[Example, Example]],
    reference: Model,
    config: FrontierConfig,
    seed: int,
) -> list[PackedBatch]:
    """Of each update, packed once: packing takes longer than learning."""
    rng = np.random.default_rng((seed, 4))
    batches = batches_of(pairs, config.batch_size // 2, rng)
    return [
        pack(chosen, reference.config)
        for _, chosen in zip(range(config.updates), batches, strict=False)
    ]


def standardised(
    rewards: Float[np.ndarray, "prompt answer"],
    log_probs: Float[np.ndarray, "prompt answer"],
) -> Float[np.ndarray, "prompt answer"]:
    """Rewards of mean 0 for each prompt and deviation 1 over all, under a policy.

    What is added to all rewards of a prompt changes neither which policy is best nor
    which answer is preferred, and cannot be learnt from preferences.
    """
    probs = np.exp(log_probs)
    centred = rewards - np.sum(probs * rewards, axis=1, keepdims=True)
    return centred / np.sqrt(np.mean(np.sum(probs * centred**2, axis=1)))
