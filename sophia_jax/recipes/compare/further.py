"""What may follow an arm's update: on-policy steps, or pairs of its own rollouts."""

from __future__ import annotations

import functools
from pathlib import Path

from sophia_jax.config import SamplingConfig
from sophia_jax.data.prompts import DIGITS
from sophia_jax.generation.engine import Engine
from sophia_jax.generation.pictured import PicturedExamples
from sophia_jax.grpo import train_on_policy
from sophia_jax.losses import Divergence
from sophia_jax.models.model import Model
from sophia_jax.models.tokenizer import token_counter
from sophia_jax.recipes.compare.laboratory import BASE, Laboratory, rollout_tables
from sophia_jax.recipes.pair_scores import ReferencedPairs
from sophia_jax.recipes.preferences import plain_examples
from sophia_jax.rollouts.pairs import MiningConfig, mine_pairs
from sophia_jax.training import objectives
from sophia_jax.training.loop import train
from sophia_jax.training.scoring import score_examples
from sophia_jax.types import InputError, Track

__all__ = ["BETA", "by_f_dpo", "by_grpo"]

BETA = 0.1  # of every divergence, the usual value


def by_grpo(lab: Laboratory, policy: Model, folder: Path, track: Track) -> Model:
    """On-policy steps on the training questions.

    Its answers are its own, so that it has no trajectories to count; its updates are as
    many as it has steps.
    """
    sampling = SamplingConfig(lab.config.reasonings.max_new_tokens)
    return train_on_policy(
        policy,
        Engine(policy, sampling, slots=lab.config.slots),
        lab.verify,
        lab.items,
        lab.sizes.grpo_of_seed(lab.config.seed),
        lab.sizes.grpo_training,
        folder,
        track=track,
    )


@functools.cache
def by_f_dpo(divergence: Divergence):
    """Right against wrong reasonings of one question, under captions that pass.

    The pairs are of the seed's own rollouts, one a question at most; the reference is
    the policy before.

    Args:
      divergence: of f-DPO.
    """

    def learn(lab: Laboratory, policy: Model, folder: Path, track: Track) -> Model:
        plain, images = plain_examples(policy, _preferences(lab))
        examples = PicturedExamples(policy, plain, images)
        training = lab.sizes.pair_training
        reference = score_examples(policy, examples, row_length=training.row_length)
        return train(
            policy,
            ReferencedPairs(examples, reference, range(len(plain) // 2)),
            objectives.f_dpo(divergence, beta=BETA),
            training,
            folder,
            measure=objectives.pair_measures(divergence, beta=BETA),
            track=track,
            description="pairs",
        )

    return learn


def _preferences(lab: Laboratory) -> list:
    """Mined pairs of the base's rollouts.

    Raises:
      InputError: there is none.
    """
    sophia = lab.config.sophia
    found = mine_pairs(
        lab.items,
        rollout_tables(lab.folder, BASE, lab.items).reasonings.read_all(),
        token_counter(lab.models[BASE], lab.models["reasoner"]),
        DIGITS,
        MiningConfig(
            num_captions=sophia.num_captions,
            num_reasonings=sophia.num_reasonings,
            threshold=sophia.threshold,
            seed=lab.config.seed,
        ),
    )
    if not found:
        raise InputError(
            "pairs: expected a right and a wrong reasoning under a caption that "
            f"passes, got none of {len(lab.items)} questions"
        )
    return [pair.preference for pair in found]
