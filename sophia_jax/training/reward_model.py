"""A reward model: a decoder of its own, and one number for each answer that it read.

It is a `Critic` that is asked once an answer. A critic values the state before a token,
so a reward model's examples end with one more token than their answer: before that
token, and of whatever kind it is, the whole answer has been read.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from sophia_jax.data.packing import PackedBatch
from sophia_jax.losses import preference_loss
from sophia_jax.training.critic import Critic, values
from sophia_jax.types import Array, Float

__all__ = ["answer_rewards", "preference_step"]


@jax.jit
def answer_rewards(model: Critic, batch: PackedBatch) -> Float[Array, " sequence"]:
    """r(x, y) = w · h + b,   h the hidden state after the answer.

    Args:
      model: of `init_critic` or `preference_step`.
      batch: of `pack_examples`; each target is an answer and one more token, which is
        not read.

    Returns:
      r of each sequence; 0 for one that only fills the batch.
    """
    found, mask = values(model, batch), batch.target_mask
    last = jnp.maximum(jnp.sum(mask, axis=1) - 1, 0)
    return jnp.take_along_axis(found, last[:, None], axis=1)[:, 0]


@functools.partial(jax.jit, donate_argnums=0)
def preference_step(
    model: Critic, batch: PackedBatch
) -> tuple[Critic, dict[str, Array]]:
    """One update of a reward model: the gradient of the mean `preference_loss`.

    Args:
      model: cannot be used again.
      batch: as of `answer_rewards`, of groups (chosen, rejected).

    Returns:
      The new model; and metrics: the loss, nats a pair, and the share of the pairs
      whose chosen answer it rewards more.
    """
    num_pairs = jnp.sum(jnp.any(batch.target_mask, axis=1)) / 2

    def mean_loss(learnt: tuple[dict, dict]) -> tuple[Array, Array]:
        params, head = learnt
        current = dataclasses.replace(model, params=params, head=head)
        chosen, rejected = answer_rewards(current, batch).reshape(-1, 2).T
        losses = preference_loss(chosen, rejected)
        some = jnp.any(batch.target_mask[::2], axis=1)
        right = jnp.sum(chosen > rejected, where=some) / num_pairs
        return jnp.sum(losses, where=some) / num_pairs, right

    learnt = model.params, model.head
    (loss, right), gradient = jax.value_and_grad(mean_loss, has_aux=True)(learnt)
    updates, opt_state = model.optimizer.update(gradient, model.opt_state, learnt)
    params, head = optax.apply_updates(learnt, updates)
    model = dataclasses.replace(model, params=params, head=head, opt_state=opt_state)
    return model, {"preference_loss": loss, "reward_accuracy": right}
