"""The update: one gradient step on a packed batch, the same for every stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sophia_jax.data.packing import PackedBatch
from sophia_jax.losses import chunked_token_log_probs
from sophia_jax.types import Array, Float

__all__ = ["LossFn", "TrainState", "init_state", "make_train_step", "policy_log_probs"]

# (policy_log_probs[sequence target], mask[sequence target], reward[sequence])
LossFn = Callable[[Array, Array, Array], Array]


@chex.dataclass(frozen=True)
class TrainState:
    """Everything that an update changes.

    Attributes:
      params: all weights; the frozen ones ride along untouched.
      opt_state: of the trainable weights.
      step: Int32[], updates made so far.
    """

    params: dict
    opt_state: optax.OptState
    step: Array


def init_state(
    params: dict, optimizer: optax.GradientTransformation, trainable: Sequence[str]
) -> TrainState:
    """A state before its first update.

    Args:
      params: top-level parts `decoder` and, with pictures, `vision` and `projector`.
      trainable: the parts that learn.
    """
    learnt = {part: params[part] for part in trainable}
    return TrainState(
        params=params, opt_state=optimizer.init(learnt), step=jnp.zeros((), jnp.int32)
    )


def policy_log_probs(
    graphdef: nnx.GraphDef,
    params: dict,
    batch: PackedBatch,
    *,
    chunk: int = 1024,
    remat: bool = False,
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
        hidden, model.decoder.head, batch.target_ids, chunk=chunk
    )


def make_train_step(
    graphdef: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    loss_fn: LossFn,
    *,
    trainable: Sequence[str] = ("decoder",),
    remat: bool = False,
) -> Callable[[TrainState, PackedBatch], tuple[TrainState, dict[str, Array]]]:
    """A compiled `train_step(state, batch) -> (state, metrics)` that donates the state.

    The gradient is that of the mean over the batch's sequences.

    Args:
      graphdef: of the model.
      optimizer: as given to `init_state`.
      loss_fn: per-sequence loss of (log-probabilities, mask, reward).
      trainable: as given to `init_state`; what is not named stays as it is.
      remat: recompute each layer's activations in the backward pass.
    """

    def mean_loss(learnt: dict, params: dict, batch: PackedBatch):
        log_probs = policy_log_probs(graphdef, params | learnt, batch, remat=remat)
        loss = loss_fn(log_probs, batch.target_mask, batch.reward)
        num_sequences = jnp.sum(jnp.any(batch.target_mask, axis=1))
        mean_log_prob = jnp.mean(log_probs, where=batch.target_mask)
        return jnp.sum(loss) / num_sequences, mean_log_prob

    def train_step(state: TrainState, batch: PackedBatch):
        learnt = {part: state.params[part] for part in trainable}
        (loss, mean_log_prob), gradient = jax.value_and_grad(mean_loss, has_aux=True)(
            learnt, state.params, batch
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, learnt)
        params = state.params | optax.apply_updates(learnt, updates)
        metrics = {
            "loss": loss,
            "mean_log_prob": mean_log_prob,
            "gradient_norm": optax.global_norm(gradient),
            "tokens": jnp.sum(batch.target_mask),
        }
        state = TrainState(params=params, opt_state=opt_state, step=state.step + 1)
        return state, metrics

    return jax.jit(train_step, donate_argnums=0)
