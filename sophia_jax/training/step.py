"""The update: one gradient step on a packed batch, the same for every stage."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sophia_jax.data.packing import PackedBatch
from sophia_jax.losses import chunked_token_log_probs, sophia_loss
from sophia_jax.models.model import Model
from sophia_jax.types import Array, Float

__all__ = ["LossFn", "TrainState", "init_state", "policy_log_probs", "train_step"]

# (policy_log_probs[sequence target], mask[sequence target], reward[sequence])
LossFn = Callable[[Array, Array, Array], Array]

TOKENS_PER_CHUNK = 4096  # whose logits exist together


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "opt_state", "step"],
    meta_fields=["graphdef", "optimizer", "loss_fn", "trainable", "remat"],
)
@dataclass(frozen=True)
class TrainState:
    """What an update changes, and (static, not part of the pytree) how.

    Attributes:
      params: all weights; the frozen ones ride along untouched.
      opt_state: of the trainable weights.
      step: Int32[], updates made so far.
      graphdef: of the model.
      optimizer: of `opt_state`.
      loss_fn: per-sequence loss of (log-probabilities, mask, reward).
      trainable: the top-level parts of `params` that learn.
      remat: recompute each layer's activations in the backward pass.
    """

    params: dict
    opt_state: optax.OptState
    step: Array
    graphdef: nnx.GraphDef
    optimizer: optax.GradientTransformation
    loss_fn: LossFn
    trainable: tuple[str, ...]
    remat: bool


def init_state(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    loss_fn: LossFn = sophia_loss,
    trainable: Sequence[str] = ("decoder",),
    remat: bool = False,
) -> TrainState:
    """A state before its first update.

    The weights are copied, since an update donates its state.

    Args:
      model: where to start.
      optimizer: any optax transformation.
      loss_fn: per-sequence loss of (log-probabilities, mask, reward).
      trainable: parts that learn: of `decoder`, `vision` and `projector`.
      remat: recompute each layer's activations in the backward pass.

    Raises:
      ValueError: the model has no such part.
    """
    if unknown := set(trainable) - set(model.params):
        raise ValueError(
            f"trainable: expected parts of {sorted(model.params)}, "
            f"got {sorted(unknown)}"
        )
    params = jax.tree.map(functools.partial(jnp.array, copy=True), model.params)
    return TrainState(
        params=params,
        opt_state=optimizer.init({part: params[part] for part in trainable}),
        step=jnp.zeros((), jnp.int32),
        graphdef=model.graphdef,
        optimizer=optimizer,
        loss_fn=loss_fn,
        trainable=tuple(trainable),
        remat=remat,
    )


def policy_log_probs(
    graphdef: nnx.GraphDef, params: dict, batch: PackedBatch, *, remat: bool = False
) -> Float[Array, "sequence target"]:
    """log π(y_l | y_<l, x, v) of every target token, in nats.

    Pixels are encoded here; features, computed once per image, are taken as they are.
    """
    model = nnx.merge(graphdef, params)
    features = batch.images
    if features is not None and features.ndim == 4:
        features = model.encode_images(features)
    embeds = model.embed(batch.token_ids, features, batch.image_index)
    hidden = model.decoder(embeds, batch.positions, batch.segment_ids, remat=remat)
    hidden = hidden.reshape(-1, hidden.shape[-1])[batch.target_index]
    return chunked_token_log_probs(
        hidden, model.decoder.head, batch.target_ids, chunk=TOKENS_PER_CHUNK
    )


@functools.partial(jax.jit, donate_argnums=0)
def train_step(
    state: TrainState, batch: PackedBatch
) -> tuple[TrainState, dict[str, Array]]:
    """One update: the gradient of the mean loss over the batch's sequences.

        θ <- optimizer(θ, ∇ 1/B Σ_b loss_b)

    Args:
      state: donated: it cannot be used again.
      batch: of `pack_examples`.

    Returns:
      The new state; and metrics: the loss (nats per sequence), the mean log-probability
      of a target token (nats), the gradient's norm, the number of target tokens.
    """

    def mean_loss(learnt: dict) -> tuple[Array, Array]:
        log_probs = policy_log_probs(
            state.graphdef, state.params | learnt, batch, remat=state.remat
        )
        loss = state.loss_fn(log_probs, batch.target_mask, batch.reward)
        num_sequences = jnp.sum(jnp.any(batch.target_mask, axis=1))
        mean_log_prob = jnp.mean(log_probs, where=batch.target_mask)
        return jnp.sum(loss) / num_sequences, mean_log_prob

    learnt = {part: state.params[part] for part in state.trainable}
    (loss, mean_log_prob), gradient = jax.value_and_grad(mean_loss, has_aux=True)(
        learnt
    )
    updates, opt_state = state.optimizer.update(gradient, state.opt_state, learnt)
    metrics = {
        "loss": loss,
        "mean_log_prob": mean_log_prob,
        "gradient_norm": optax.tree.norm(gradient),
        "tokens": jnp.sum(batch.target_mask),
    }
    state = dataclasses.replace(
        state,
        params=state.params | optax.apply_updates(learnt, updates),
        opt_state=opt_state,
        step=state.step + 1,
    )
    return state, metrics
