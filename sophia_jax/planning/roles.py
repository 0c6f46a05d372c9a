"""Every role of a run, in the order of the round."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

from sophia_jax.config import ModelConfig
from sophia_jax.planning.collecting import Collector
from sophia_jax.planning.collectives import MeshShape, Traffic, update_traffic
from sophia_jax.planning.compiling import lane_devices, shard_bytes, slice_devices
from sophia_jax.planning.counts import (
    Work,
    causal_pairs,
    decoder_weights,
    head_weights,
    training_passes,
    update_work,
)
from sophia_jax.planning.lanes import abstract_weights, decoding_partition
from sophia_jax.planning.loading import fill_program, move_program, moved_bytes, reading
from sophia_jax.planning.role import Role
from sophia_jax.planning.run_plan import RunPlan, model_config
from sophia_jax.planning.update import Update

__all__ = ["roles"]


def roles(plan: RunPlan) -> Iterator[Role]:
    """What a run does: load, collect, learn, and move the weights in between.

    Raises:
      InputError: a mesh does not divide a model.
    """
    policy, lanes = _sampled(plan, plan.policy)
    yield loading_role(plan, policy, lanes, "policy loading")
    held = [0, 0]
    if plan.reasoner is not None:
        reasoner, reasoner_lanes = _sampled(plan, plan.reasoner)
        yield loading_role(plan, reasoner, reasoner_lanes, "reasoner loading")
        if plan.shared and _overlap(plan):
            both = ((reasoner, reasoner_lanes), (policy, lanes))
            held = [_weights_of_chip(plan, *each) for each in both]
    of_policy = Collector(plan, policy, lanes, is_policy=True, also_held=held[0])
    if policy.vision is not None:
        yield of_policy.encode()
    yield of_policy.prefill()
    yield of_policy.decode()
    if plan.reasoner is not None:
        of_reasoner = Collector(
            plan, reasoner, reasoner_lanes, is_policy=False, also_held=held[1]
        )
        yield of_reasoner.prefill()
        yield of_reasoner.decode()
    update = Update(plan, policy, slice_devices(plan.target))
    if plan.target.chips > 1:
        yield moving_role(plan, update, lanes)
    yield update_role(plan, update)


def _sampled(plan: RunPlan, name: str) -> tuple[ModelConfig, MeshShape]:
    """A model with its vocabulary padded for all of its meshes, and its lanes."""
    is_policy = name == plan.policy
    role = plan.roles.policy if is_policy else plan.roles.reasoner
    config = model_config(name, 1, plan.max_length)
    lanes = plan.lanes(config, role)
    ways = math.lcm(lanes.tensor, plan.mesh.tensor) if is_policy else lanes.tensor
    return model_config(name, ways, plan.max_length), lanes


def _overlap(plan: RunPlan) -> bool:
    """Whether policy and reasoner have chips in common."""
    ends = []
    for mesh in (plan.roles.policy, plan.roles.reasoner):
        first = 0 if mesh is None else mesh.first
        count = None if mesh is None else mesh.count
        ends.append((first, plan.target.chips if count is None else first + count))
    return max(first for first, _ in ends) < min(end for _, end in ends)


def _weights_of_chip(plan: RunPlan, config: ModelConfig, lanes: MeshShape) -> int:
    devices = lane_devices(plan.target.generation, lanes.tensor)
    partition = decoding_partition(config, devices, lanes.tensor)
    return shard_bytes(abstract_weights(config, partition))


def loading_role(
    plan: RunPlan, config: ModelConfig, lanes: MeshShape, name: str
) -> Role:
    """Weights come from storage to the lanes of each host."""
    chips = min(plan.target.chips_per_host, lanes.chips)
    devices = lane_devices(plan.target.generation, chips)
    params = abstract_weights(config, decoding_partition(config, devices, lanes.tensor))
    read = reading(config, params, devices)
    return Role(
        name=name,
        chips=chips,
        used_chips=lanes.chips,
        unit=f"model, {read.read_bytes / 1e9:.0f} GB read by each host",
        first=1,
        step=1,
        most=1,
        program=lambda batch: fill_program(params),
        work=lambda batch: Work(hbm_bytes=2 * shard_bytes(params)),
        traffic=lambda batch: Traffic(),
        steps=lambda batch: 1.0,
        host_seconds=read.read_bytes / plan.sizes.read_rate,
    )


def moving_role(plan: RunPlan, update: Update, lanes: MeshShape) -> Role:
    """The policy's weights go to the update's layout, and back to the lanes."""
    partition = decoding_partition(
        update.config, slice_devices(plan.target)[: lanes.chips], lanes.tensor
    )
    there = abstract_weights(update.config, partition)
    received = moved_bytes(there, update.weights)
    return Role(
        name="moving weights",
        chips=plan.target.chips,
        used_chips=plan.target.chips,
        unit="model, there and back",
        first=1,
        step=1,
        most=1,
        program=lambda batch: move_program(there, update.weights),
        work=lambda batch: Work(hbm_bytes=2 * received),
        traffic=lambda batch: Traffic(received),
        steps=lambda batch: 2.0,
    )


def update_role(plan: RunPlan, update: Update) -> Role:
    """The policy update: all trajectories of an update, packed into rows."""
    config, text = update.config, update.config.text
    mesh, sizes = plan.mesh, plan.sizes
    learn_weights = plan.lora is None
    passes = training_passes(text, remat=plan.remat, learn_weights=learn_weights)
    tokens = plan.batch_size * update.mean_length / (update.shards * mesh.context)
    pairs = causal_pairs([update.mean_length]) / update.mean_length * tokens
    learnt = tokens * sizes.reasoning_tokens / update.mean_length
    shards = update.partition.ways("embed") * mesh.tensor
    weights = text.num_layers * decoder_weights(text) + 2 * head_weights(text)
    learning = update.learning if plan.lora is not None else weights

    @functools.cache
    def state_bytes() -> float:
        """Of each weight that learns, read and written by the optimizer."""
        own = shard_bytes(update.state.opt_state) * shards / learning
        return 2 * (own + 2)

    return Role(
        name="policy update",
        chips=plan.target.chips,
        used_chips=plan.target.chips,
        unit=f"rows of {plan.max_length:,} tokens in each of {update.shards} shares",
        first=plan.rows,
        step=1,
        most=max(plan.rows, math.ceil(plan.batch_size / update.shards)),
        program=update.program,
        work=lambda rows: update_work(
            config,
            tokens=tokens,
            pairs=pairs,
            learnt=learnt,
            passes=passes,
            micro_batches=update.parts(rows),
            tensor=mesh.tensor,
            shards=shards,
            weights=learning,
            state_bytes=state_bytes(),
        ),
        traffic=lambda rows: update_traffic(
            config,
            mesh,
            tokens=tokens,
            micro_batches=update.parts(rows),
            remat=plan.remat,
            learnt_share=learning / weights,
            weight_shards=update.partition.ways("embed"),
            num_slices=plan.target.num_slices,
        ),
        steps=lambda rows: sizes.questions * sizes.kept_share / plan.batch_size,
    )
