"""Where a policy stands: what is computed of it, and what its samples tell."""

from __future__ import annotations

import dataclasses

import numpy as np

from sophia_jax.evaluation.calibration import preference_calibration_error
from sophia_jax.evaluation.divergence import estimate_divergence
from sophia_jax.evaluation.diversity import (
    distinct_n,
    self_bleu,
    sequence_entropy,
    token_entropy,
)
from sophia_jax.evaluation.metrics import bootstrap_interval
from sophia_jax.losses import Divergence
from sophia_jax.models.model import Model
from sophia_jax.recipes.frontier.exact import (
    answer_log_probs,
    exact_divergence,
    exact_reward,
)
from sophia_jax.recipes.frontier.laboratory import Laboratory
from sophia_jax.recipes.frontier.samples import Samples, draw_samples, sampler
from sophia_jax.recipes.frontier.sizes import DIVERGENCES, FrontierConfig
from sophia_jax.recipes.frontier.task import PROMPTS, all_answers

__all__ = ["measure"]

RESAMPLES = 400


def measure(
    laboratory: Laboratory,
    model: Model,
    config: FrontierConfig,
    *,
    step: int,
    implied: tuple[Divergence, float] | None = None,
) -> dict:
    """Reward, divergences and diversity of a policy, with error bars.

    Args:
      laboratory: of its seed.
      model: the policy.
      config: of all sizes.
      step: updates that the policy has made.
      implied: the divergence and the price under which the policy tells rewards; None
        where it was not learnt as one that tells them.

    Returns:
      `exact`: computed over all answers. `sampled`: from fresh samples, each value with
      a 95 % interval. `held_out`: how the rewards that the policy tells agree with
      preferences that it has not seen; None without `implied`.
    """
    log_probs = answer_log_probs(model, laboratory.prompt_ids)
    samples = draw_samples(
        sampler(model), config.num_samples, laboratory.seed, f"point {step}"
    )
    return {
        "step": step,
        "exact": _exact(laboratory, log_probs),
        "sampled": _sampled(laboratory, log_probs, samples),
        "held_out": None
        if implied is None
        else _held_out(laboratory, log_probs, config, *implied),
    }


def _exact(laboratory: Laboratory, log_probs: np.ndarray) -> dict:
    probs = np.exp(log_probs)
    return {
        "reward": exact_reward(log_probs, laboratory.rewards),
        "entropy": float(-np.mean(np.sum(probs * log_probs, axis=1))),
        "mean_length": float(np.mean(probs @ all_answers().lengths)),
        "divergences": {
            name: exact_divergence(log_probs, laboratory.log_probs, each)
            for name, each in DIVERGENCES.items()
        },
    }


def _sampled(laboratory: Laboratory, log_probs: np.ndarray, samples: Samples) -> dict:
    places = samples.prompts, samples.answers
    rewards = laboratory.rewards[places]
    own = np.array([each.sum(dtype=np.float64) for each in samples.log_probs])
    ratio = own - laboratory.log_probs[places]
    return {
        "num_samples": len(samples),
        "reward": float(rewards.mean()),
        "reward_interval": bootstrap_interval(rewards, num_resamples=RESAMPLES),
        "divergences": {
            name: dataclasses.asdict(
                estimate_divergence(ratio, each, num_resamples=RESAMPLES)
            )
            for name, each in DIVERGENCES.items()
        },
        "sequence_entropy": sequence_entropy(own),
        "token_entropy": token_entropy(own, [len(each) for each in samples.token_ids]),
        **_diversity(samples),
        "cut_off": float(np.mean(all_answers().cut_off[samples.answers])),
        "log_prob_error": float(np.abs(own - log_probs[places]).max()),
    }


def _diversity(samples: Samples) -> dict[str, float]:
    """Of one prompt at a time, since other prompts ask for other words."""
    by_prompt = [
        [samples.token_ids[place] for place in np.flatnonzero(samples.prompts == p)]
        for p in range(len(PROMPTS))
    ]
    return {
        "distinct_2": float(np.mean([distinct_n(each, 2) for each in by_prompt])),
        "self_bleu": float(np.mean([self_bleu(each) for each in by_prompt])),
    }


def _held_out(
    laboratory: Laboratory,
    log_probs: np.ndarray,
    config: FrontierConfig,
    divergence: Divergence,
    beta: float,
) -> dict:
    """Preferences that were not learnt from."""
    pool, wins = laboratory.pool, laboratory.first_wins
    places = pool.prompts, pool.answers
    ratio = (log_probs - laboratory.log_probs)[places].reshape(-1, 2)
    chosen = np.where(wins, ratio[:, 0], ratio[:, 1])[config.num_pairs :]
    rejected = np.where(wins, ratio[:, 1], ratio[:, 0])[config.num_pairs :]
    margin = np.asarray(
        divergence.scaled_difference(chosen, rejected, beta), np.float64
    )
    return {
        "num_pairs": len(margin),
        "reward_margin": float(margin.mean()),
        "reward_accuracy": float(np.mean((np.sign(margin) + 1) / 2)),
        "calibration_error": preference_calibration_error(margin),
    }
