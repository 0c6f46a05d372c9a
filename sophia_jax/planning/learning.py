"""The role of the policy update: what it does in a step, and how often."""

from __future__ import annotations

import math

from sophia_jax.planning.collectives import Traffic, update_traffic
from sophia_jax.planning.compiling import shard_bytes
from sophia_jax.planning.counts import (
    Work,
    causal_pairs,
    decoder_weights,
    head_weights,
    training_passes,
    update_work,
)
from sophia_jax.planning.role import Role
from sophia_jax.planning.update import Update

__all__ = ["update_role"]


def update_role(update: Update) -> Role:
    """All trajectories of an update, packed into rows; a step is one update."""
    plan, chips = update.plan, update.plan.target.chips
    sizes, shards = plan.sizes, update.shards
    return Role(
        name="policy update",
        chips=chips,
        used_chips=chips,
        unit=f"rows of {plan.max_length:,} tokens in each of {shards} shares",
        first=plan.rows,
        step=1,
        most=max(plan.rows, math.ceil(plan.batch_size / shards)),
        program=update.program,
        work=lambda rows: _work(update, rows),
        traffic=lambda rows: _traffic(update, rows),
        steps=lambda rows: sizes.questions * sizes.kept_share / plan.batch_size,
    )


def _tokens(update: Update) -> float:
    """Of one chip's rows, in all micro-batches."""
    shares = update.shards * update.plan.mesh.context
    return update.plan.batch_size * update.mean_length / shares


def _weights(update: Update) -> tuple[int, int]:
    """Numbers in the decoder's matrices, and those that learn."""
    text = update.config.text
    whole = text.num_layers * decoder_weights(text) + 2 * head_weights(text)
    return whole, whole if update.plan.lora is None else update.learning


def _work(update: Update, rows: int) -> Work:
    plan, text, mesh = update.plan, update.config.text, update.plan.mesh
    tokens, learning = _tokens(update), _weights(update)[1]
    passes = training_passes(text, remat=plan.remat, learn_weights=plan.lora is None)
    shards = update.partition.ways("embed") * mesh.tensor
    # Of each number that learns: its weight, and what the optimizer keeps.
    own = 2 + shard_bytes(update.state.opt_state) * shards / learning
    return update_work(
        update.config,
        tokens=tokens,
        pairs=causal_pairs([update.mean_length]) / update.mean_length * tokens,
        learnt=tokens * plan.sizes.reasoning_tokens / update.mean_length,
        passes=passes,
        micro_batches=update.parts(rows),
        tensor=mesh.tensor,
        shards=shards,
        weights=learning,
        state_bytes=2 * own,
    )


def _traffic(update: Update, rows: int) -> Traffic:
    plan = update.plan
    whole, learning = _weights(update)
    return update_traffic(
        update.config,
        plan.mesh,
        tokens=_tokens(update),
        micro_batches=update.parts(rows),
        remat=plan.remat,
        learnt_share=learning / whole,
        weight_shards=update.partition.ways("embed"),
        num_slices=plan.target.num_slices,
    )
