"""A critic: a decoder of its own, and one number for each state that it reads."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sophia_jax.data.packing import PackedBatch
from sophia_jax.losses import value_loss
from sophia_jax.models.model import Model
from sophia_jax.training.step import hidden_states
from sophia_jax.types import Array, Float

__all__ = ["BEHAVIOR_VALUE", "RETURN", "Critic", "critic_step", "init_critic", "values"]

BEHAVIOR_VALUE = "behavior_value"  # signal: V of each token, when it was sampled
RETURN = "return"  # signal: what each token was worth, to be learnt


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "head", "opt_state"],
    meta_fields=["graphdef", "optimizer"],
)
@dataclass(frozen=True)
class Critic:
    """V(x, y_<l), learnt beside a policy with which it shares no weight.

        V = w · h + b,   h the hidden state from which token l would be predicted

    Attributes:
      params: of the model that reads.
      head: `weight` Float32[embed] and `bias` Float32[].
      opt_state: of both.
      graphdef: of the model.
      optimizer: of `opt_state`.
    """

    params: dict
    head: dict
    opt_state: optax.OptState
    graphdef: nnx.GraphDef
    optimizer: optax.GradientTransformation


def init_critic(model: Model, optimizer: optax.GradientTransformation) -> Critic:
    """A critic that values everything at 0 before its first update.

    Args:
      model: whose weights it starts from, usually the policy's at its start; they are
        copied. On one device.
      optimizer: any optax transformation.

    Raises:
      ValueError: the model lies on a mesh.
    """
    if model.partition is not None:
        raise ValueError("model: expected one on one device, got one on a mesh")
    params = jax.tree.map(functools.partial(jnp.array, copy=True), model.params)
    head = {
        "weight": jnp.zeros(model.config.text.hidden_size, jnp.float32),
        "bias": jnp.zeros((), jnp.float32),
    }
    return Critic(
        params=params,
        head=head,
        opt_state=optimizer.init((params, head)),
        graphdef=model.graphdef,
        optimizer=optimizer,
    )


@jax.jit
def values(critic: Critic, batch: PackedBatch) -> Float[Array, "sequence target"]:
    """V of the state before each target token, in units of the reward; 0 on padding.

    Args:
      critic: of `init_critic` or `critic_step`.
      batch: of `pack_examples`.
    """
    return _values(critic.graphdef, critic.params, critic.head, batch)


@functools.partial(jax.jit, donate_argnums=0, static_argnames="clip")
def critic_step(
    critic: Critic, batch: PackedBatch, *, clip: float = 0.2
) -> tuple[Critic, dict[str, Array]]:
    """One update of a critic: the gradient of the mean `value_loss`.

    Args:
      critic: cannot be used again.
      batch: of `pack_examples`, with the signals `RETURN` and `BEHAVIOR_VALUE`.
      clip: as of `value_loss`.

    Returns:
      The new critic; and metrics: the loss, a sequence, and the share of the returns'
      variance that the values explain.
    """
    mask, returns = batch.target_mask, batch.signals[RETURN]
    num_sequences = jnp.sum(jnp.any(mask, axis=1))

    def mean_loss(learnt: tuple[dict, dict]) -> tuple[Array, Array]:
        found = _values(critic.graphdef, *learnt, batch)
        losses = value_loss(
            found, batch.signals[BEHAVIOR_VALUE], returns, mask, clip=clip
        )
        return jnp.sum(losses) / num_sequences, found

    learnt = critic.params, critic.head
    (loss, found), gradient = jax.value_and_grad(mean_loss, has_aux=True)(learnt)
    updates, opt_state = critic.optimizer.update(gradient, critic.opt_state, learnt)
    params, head = optax.apply_updates(learnt, updates)
    metrics = {
        "value_loss": loss,
        "explained_variance": 1
        - jnp.var(returns - found, where=mask) / jnp.var(returns, where=mask),
    }
    critic = dataclasses.replace(critic, params=params, head=head, opt_state=opt_state)
    return critic, metrics


def _values(
    graphdef: nnx.GraphDef, params: dict, head: dict, batch: PackedBatch
) -> Array:
    hidden = hidden_states(nnx.merge(graphdef, params), batch)
    before = hidden.reshape(-1, hidden.shape[-1])[batch.target_index]
    found = before.astype(jnp.float32) @ head["weight"] + head["bias"]
    return jnp.where(batch.target_mask, found, 0)
