"""The update: one gradient step on a packed batch, the same for every stage."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from sophia_jax.config import Remat
from sophia_jax.data.packing import PackedBatch
from sophia_jax.losses import chunked_token_log_probs
from sophia_jax.models.internvl import InternVL
from sophia_jax.models.logical_axes import placed_by, with_paths
from sophia_jax.models.model import Model
from sophia_jax.sharding import Partition
from sophia_jax.sharding.rules import constrain
from sophia_jax.training import objectives
from sophia_jax.training.layout import optimizer_shardings
from sophia_jax.training.master import apply_updates, kept_weights
from sophia_jax.types import Array, Float

__all__ = [
    "Measure",
    "Objective",
    "TrainState",
    "init_state",
    "lower_train_step",
    "policy_log_probs",
    "train_step",
    "update_learning",
]

Objective = Callable[[Array, PackedBatch], Array]
"""(log-probabilities [sequence target], batch) -> [sequence], of which the mean is
minimised. What it gives for a sequence that only fills the batch must be 0."""

Measure = Callable[[Array, PackedBatch], Mapping[str, Array]]
"""Likewise -> numbers by name, [sequence] each, of which the mean is logged; nan where
a sequence has none."""

MOST_LOGITS = 2**28  # of a device that exist together
MOST_TOKENS = 4096  # likewise: more of them multiply no faster


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "opt_state", "step"],
    meta_fields=[
        *("graphdef", "partition", "optimizer", "objective", "measure", "trainable"),
        "remat",
    ],
)
@dataclass(frozen=True)
class TrainState:
    """What an update changes, and (static, not part of the pytree) how.

    Attributes:
      params: all weights; the frozen ones are the model's own, in its dtype.
      opt_state: of the trainable weights.
      step: Int32[], updates made so far.
      graphdef: of the model.
      partition: how weights, state and activations lie on a mesh; None for none.
      optimizer: of `opt_state`.
      objective: what is minimised.
      measure: what is logged beside it.
      trainable: the top-level parts of `params` that learn.
      remat: which activations of a layer the backward pass forms again.
    """

    params: dict
    opt_state: optax.OptState
    step: Array
    graphdef: nnx.GraphDef
    partition: Partition | None
    optimizer: optax.GradientTransformation
    objective: Objective
    measure: Measure
    trainable: tuple[str, ...]
    remat: Remat


def init_state(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    objective: Objective = objectives.sophia,
    measure: Measure = objectives.off_policy_measures,
    trainable: Sequence[str] = ("decoder",),
    remat: Remat = "none",
    donate: bool = False,
) -> TrainState:
    """A state before its first update.

    What learns is copied, since an update donates it; what is frozen is not.

    Args:
      model: where to start.
      optimizer: any optax transformation.
      objective: what is minimised, of `objectives` or one's own.
      measure: what is logged beside it.
      trainable: parts that learn: of `decoder`, `vision`, `projector` and `adapters`.
      remat: which activations of a layer the backward pass forms again.
      donate: copy nothing: after an update the model cannot be used again.

    Raises:
      ValueError: the model has no such part.
    """
    if unknown := set(trainable) - set(model.params):
        raise ValueError(
            f"trainable: expected parts of {sorted(model.params)}, "
            f"got {sorted(unknown)}"
        )
    take = functools.partial(jnp.array, copy=not donate)
    learnt = {part: jax.tree.map(take, model.params[part]) for part in trainable}
    init, step = optimizer.init, jnp.zeros((), jnp.int32)
    if model.partition is not None:
        state = jax.eval_shape(init, learnt)
        places = optimizer_shardings(state, learnt, model.partition)
        init = jax.jit(init, out_shardings=places)  # nothing is whole on one device
        step = jax.device_put(step, model.partition.sharding())
    return TrainState(
        params=model.params | learnt,
        opt_state=init(learnt),
        step=step,
        graphdef=model.graphdef,
        partition=model.partition,
        optimizer=optimizer,
        objective=objective,
        measure=measure,
        trainable=tuple(trainable),
        remat=remat,
    )


def policy_log_probs(
    graphdef: nnx.GraphDef, params: dict, batch: PackedBatch, *, remat: Remat = "none"
) -> Float[Array, "sequence target"]:
    """log π(y_l | y_<l, x, v) of every target token, in nats; 0 on padding.

    Pixels are encoded here; features, computed once per image, are taken as they are.
    """
    model = nnx.merge(graphdef, params)
    features = batch.images
    if features is not None and features.ndim == 4:
        features = model.encode_images(features, remat=remat)
    num_shards = len(batch.learnt)
    embeds = model.embed(
        batch.token_ids, features, batch.image_index, num_shards=num_shards
    )
    hidden = model.decoder(
        embeds,
        batch.positions,
        batch.segment_ids,
        lengths=batch.positions + 1,  # what the sampler computed, and causal
        remat=remat,
    )
    return _learnt_log_probs(model, hidden, batch)


def _learnt_log_probs(
    model: InternVL, hidden: Float[Array, "row token embed"], batch: PackedBatch
) -> Float[Array, "sequence target"]:
    """Logits are the dearest part: none are formed for a prompt, nor for padding."""
    partition, num_shards = model.partition, len(batch.learnt)

    def of_shards(array: Array, *rest: int) -> Array:
        array = array.reshape(num_shards, -1, *rest)
        return constrain(partition, array, "batch", *[None] * (array.ndim - 1))

    pick = functools.partial(jnp.take_along_axis, axis=1, mode="clip")
    places = pick(of_shards(batch.target_index), batch.learnt)
    ids = pick(of_shards(batch.target_ids), batch.learnt)
    hidden = pick(of_shards(hidden, hidden.shape[-1]), places[..., None])
    # The devices that share a row's tokens share these tokens, too.
    ways = 1 if partition is None else partition.ways("token")
    num_learnt = ids.shape[1]
    hidden, ids = (
        jnp.pad(x, [(0, 0), (0, -num_learnt % ways)] + [(0, 0)] * (x.ndim - 2))
        for x in (hidden, ids)
    )
    hidden, ids = (
        constrain(
            partition,
            x.reshape(num_shards * ways, -1, *x.shape[2:]),
            *("learnt", *[None] * (x.ndim - 1)),
        )
        for x in (hidden, ids)
    )
    log_probs = chunked_token_log_probs(
        hidden,
        model.decoder.head,
        ids,
        chunk=len(ids) * _tokens_per_chunk(model),
        vocab_size=model.config.text.vocab_size,
    ).reshape(num_shards, -1)[:, :num_learnt]
    size = batch.target_ids.size // num_shards
    zeros = jnp.zeros((num_shards, size), log_probs.dtype)
    put = jax.vmap(lambda row, place, value: row.at[place].set(value, mode="drop"))
    padded = put(zeros, batch.learnt, log_probs)
    return padded.reshape(batch.target_ids.shape)


def _tokens_per_chunk(model: InternVL) -> int:
    """Tokens of a device whose logits exist together."""
    partition, rows = model.partition, model.config.text.embedding_rows
    ways = 1 if partition is None else partition.ways("vocab")
    return max(1, min(MOST_TOKENS, MOST_LOGITS * ways // rows))


def train_step(
    state: TrainState, batch: PackedBatch
) -> tuple[TrainState, dict[str, Array]]:
    """One update: the gradient of the mean loss over the update's sequences.

        θ <- optimizer(θ, ∇ 1/B Σ_b loss_b)

    The parts of a stacked batch come in turn, and their gradients are summed in
    float32: activations are held for one part, and the update is that of all.

    Args:
      state: cannot be used again: all but its frozen weights is donated.
      batch: of `pack_examples`, or of `pack_parts`.

    Returns:
      The new state; and metrics: the loss (per sequence), the mean log-probability
      of a target token (nats), the gradient's norm, the number of target tokens, the
      share of the rows' tokens that are no padding, and what the state's `measure`
      gives, averaged over the sequences.
    """
    learning, frozen = _parted(state)
    learning, metrics = update_learning(learning, frozen, batch)
    return dataclasses.replace(learning, params=frozen | learning.params), metrics


def lower_train_step(state: TrainState, batch: PackedBatch) -> jax.stages.Lowered:
    """The program of `train_step`, for who wants to know what it needs.

    Args:
      state, batch: arrays, or their shapes alone.
    """
    return update_learning.lower(*_parted(state), batch)


def _parted(state: TrainState) -> tuple[TrainState, dict]:
    """The state of what learns, and the frozen weights."""
    learnt = {part: state.params[part] for part in state.trainable}
    frozen = {part: state.params[part] for part in state.params.keys() - learnt.keys()}
    return dataclasses.replace(state, params=learnt), frozen


@functools.partial(jax.jit, donate_argnums=0)
def update_learning(
    state: TrainState, frozen: dict, batch: PackedBatch
) -> tuple[TrainState, dict[str, Array]]:
    """`train_step`, on what learns; its weights, and nothing frozen, come back."""
    parts = batch
    if batch.token_ids.ndim == 2:
        parts = jax.tree.map(lambda array: array[None], batch)
    learnt = state.params
    gradient, means = _sum_over_parts(state, frozen, parts)
    updates, opt_state = state.optimizer.update(gradient, state.opt_state, learnt)
    metrics = {
        **means,
        "gradient_norm": optax.tree.norm(gradient),
        "tokens": jnp.sum(batch.target_mask),
        "fill": jnp.mean(batch.segment_ids > 0),
    }
    state = dataclasses.replace(
        state,
        params=apply_updates(learnt, updates, opt_state),
        opt_state=opt_state,
        step=state.step + 1,
    )
    return _laid_out(state), metrics


def _laid_out(state: TrainState) -> TrainState:
    """The new state of what learns lies where the old one did."""
    if state.partition is None:
        return state
    places = with_paths(
        lambda path, leaf: placed_by(state.partition)(path, leaf.shape), state.params
    )
    return dataclasses.replace(
        state,
        params=jax.lax.with_sharding_constraint(state.params, places),
        opt_state=jax.lax.with_sharding_constraint(
            state.opt_state,
            optimizer_shardings(state.opt_state, state.params, state.partition),
        ),
    )


def _sum_over_parts(
    state: TrainState, frozen: dict, parts: PackedBatch
) -> tuple[dict, dict[str, Array]]:
    """The gradient of the whole update, and means over it."""
    num_sequences = jnp.sum(jnp.any(parts.target_mask, axis=-1))
    num_tokens = jnp.sum(parts.target_mask)
    # An objective sees a part, and may have to know of the rest.
    mean_length = jnp.full(parts.reward.shape, num_tokens / num_sequences)
    signals = parts.signals | {objectives.MEAN_LENGTH: mean_length}
    parts = parts.replace(signals=signals)

    def share(learnt: dict, part: PackedBatch) -> tuple[Array, dict]:
        log_probs = policy_log_probs(
            state.graphdef, frozen | learnt, part, remat=state.remat
        )
        losses = state.objective(log_probs, part)
        measured = state.measure(jax.lax.stop_gradient(log_probs), part)
        loss = jnp.sum(losses) / num_sequences
        return loss, _sums_and_counts(log_probs, losses, measured, part.target_mask)

    learnt, gradient_of = state.params, jax.grad(share, has_aux=True)

    def add(total: tuple, part: PackedBatch) -> tuple[tuple, None]:
        return jax.tree.map(jnp.add, total, gradient_of(learnt, part)), None

    def zeros(array: Array) -> Array:
        return jnp.zeros(array.shape, jnp.promote_types(array.dtype, jnp.float32))

    first = jax.tree.map(lambda array: array[0], parts)
    named = jax.eval_shape(lambda part: share(learnt, part)[1], first)
    start = jax.tree.map(zeros, learnt), jax.tree.map(zeros, named)
    (gradient, sums), _ = jax.lax.scan(add, start, parts)
    kept = kept_weights(learnt, state.opt_state)
    gradient = jax.tree.map(lambda g, w: g.astype(w.dtype), gradient, kept)
    return gradient, {name: total / count for name, (total, count) in sums.items()}


def _sums_and_counts(
    log_probs: Array, losses: Array, measured: Mapping[str, Array], mask: Array
) -> dict[str, tuple[Array, Array]]:
    """What the means are made of, once all parts are added up."""
    some = jnp.any(mask, axis=1)

    def over(values: Array, counted: Array) -> tuple[Array, Array]:
        return jnp.sum(values, where=counted), jnp.sum(counted, dtype=jnp.float32)

    return {
        "loss": over(losses, some),
        "mean_log_prob": over(log_probs, mask),
        **{name: over(x, some & ~jnp.isnan(x)) for name, x in measured.items()},
    }
