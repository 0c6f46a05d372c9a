"""What a policy answers, computed rather than sampled; and what would be best."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sophia_jax.losses import Divergence, optimal_policy
from sophia_jax.models.model import Model
from sophia_jax.recipes.frontier.task import (
    END_ID,
    LETTERS,
    LONGEST,
    VOCAB_SIZE,
    words_of,
)
from sophia_jax.types import Array, Float, typed

LEAST_RATIO = -80.0  # nats

__all__ = [
    "answer_log_probs",
    "exact_divergence",
    "exact_reward",
    "optimum_curve",
]


def answer_log_probs(
    model: Model, prompt_ids: np.ndarray
) -> Float[np.ndarray, "prompt answer"]:
    """log π(y | x) of all answers, in nats, float64; they sum to 1.

    Args:
      model: of the task's tokens.
      prompt_ids: Int[prompt token], as `encode_prompt` gives them.
    """
    return np.asarray(
        jnp.stack([_of_prompt(model.graphdef, model.params, p) for p in prompt_ids]),
        np.float64,
    )


@functools.partial(jax.jit, static_argnums=0)
def _of_prompt(graphdef: nnx.GraphDef, params: dict, prompt_ids: Array) -> Array:
    """Every node of the tree of letters is read once, as a beginning of leaves."""
    leaves = jnp.asarray(words_of(LONGEST - 1))
    prompts = jnp.broadcast_to(prompt_ids[None], (len(leaves), len(prompt_ids)))
    rows = jnp.concatenate([prompts, leaves], axis=1)
    positions = jnp.broadcast_to(jnp.arange(rows.shape[1])[None], rows.shape)
    decoder = nnx.merge(graphdef, params).decoder
    hidden = decoder(decoder.embed(rows), positions, jnp.ones_like(positions))
    logits = hidden[:, len(prompt_ids) - 1 :] @ decoder.head[:, :VOCAB_SIZE]
    return _over_tree(jax.nn.log_softmax(logits.astype(jnp.float32)))


def _over_tree(log_probs: Float[Array, "leaf depth token"]) -> Float[Array, " answer"]:
    """Sums along the tree, in the order of `all_answers`."""
    beginning, answers = jnp.zeros(1), []
    for depth in range(LONGEST):
        apart = len(LETTERS) ** (LONGEST - 1 - depth)  # leaves below one node
        following = log_probs[::apart, depth]
        answers.append(beginning + following[:, END_ID])
        beginning = (beginning[:, None] + following[:, :END_ID]).ravel()
    return jnp.concatenate([*answers, beginning])


@typed
def exact_reward(
    log_probs: Float[np.ndarray, "prompt answer"],
    rewards: Float[np.ndarray, "prompt answer"],
) -> float:
    """E_x E_π[r], over equally frequent prompts."""
    return float(np.mean(np.sum(np.exp(log_probs) * rewards, axis=1)))


@typed
def exact_divergence(
    log_probs: Float[np.ndarray, "prompt answer"],
    reference: Float[np.ndarray, "prompt answer"],
    divergence: Divergence,
) -> float:
    """E_x D_f(π || π_ref), over equally frequent prompts.

    A log-ratio below -80 counts as -80, beyond which float32 knows no e^-ℓ: the terms
    of all but the forward KL have their limits by then, Σ π_ref (f(0) + f'(1)).

    Args:
      log_probs, reference: log π and log π_ref of all answers, in nats; -inf for what
        π never gives.
      divergence: D_f.
    """
    ratio = np.maximum(log_probs - reference, LEAST_RATIO)
    terms = np.asarray(_penalty(divergence, ratio), np.float64)
    return float(np.mean(np.sum(np.exp(reference + ratio) * terms, axis=1)))


@jax.jit
def _penalty(divergence: Divergence, ratio: Array) -> Array:
    return divergence.penalty(ratio)


def optimum_curve(
    reference: Float[np.ndarray, "prompt answer"],
    rewards: Float[np.ndarray, "prompt answer"],
    divergence: Divergence,
    betas: np.ndarray,
) -> list[dict]:
    """The most reward at each price of divergence: nobody can be above this line.

    Args:
      reference: log π_ref of all answers, in nats.
      rewards: of all answers.
      divergence: D_f.
      betas: Float[beta], prices.

    Returns:
      For each beta, `beta`, `reward` and `divergence` of the best policy.
    """
    curve = []
    for beta in betas:
        best = [
            optimal_policy(
                np.exp(log_probs).astype(np.float32),
                reward.astype(np.float32),
                divergence,
                beta=float(beta),
            )
            for log_probs, reward in zip(reference, rewards, strict=True)
        ]
        probs = np.asarray(best, np.float64)
        with np.errstate(divide="ignore"):  # float32 knows no less than e^-103
            found = np.log(probs / probs.sum(1, keepdims=True))
        curve.append(
            {
                "beta": float(beta),
                "reward": exact_reward(found, rewards),
                "divergence": exact_divergence(found, reference, divergence),
            }
        )
    return curve
