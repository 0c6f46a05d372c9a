"""Every role of a run, in the order of the round."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sophia_jax.config import ModelConfig
from sophia_jax.planning.collecting import Collector
from sophia_jax.planning.collectives import MeshShape, Traffic
from sophia_jax.planning.compiling import lane_devices, shard_bytes, slice_devices
from sophia_jax.planning.counts import Work
from sophia_jax.planning.learning import update_role
from sophia_jax.planning.loading import fill_program, move_program, moved_bytes, reading
from sophia_jax.planning.role import Role
from sophia_jax.planning.run_plan import RunPlan, model_config
from sophia_jax.planning.update import Update
from sophia_jax.planning.weights import abstract_weights, decoding_partition

__all__ = ["roles"]


def roles(plan: RunPlan) -> Iterator[Role]:
    """What a run does: load, collect, learn, and move the weights in between.

    Raises:
      InputError: a mesh does not divide a model.
    """
    policy, lanes = _sampled(plan, plan.policy)
    yield loading_role(plan, policy, lanes, "policy loading")
    of_policy = Collector(plan, policy, lanes, is_policy=True)
    if policy.vision is not None:
        yield of_policy.encode()
    yield of_policy.prefill()
    yield of_policy.decode()
    if plan.reasoner is not None:  # loaded when the policy has been given up
        reasoner, lanes_there = _sampled(plan, plan.reasoner)
        yield loading_role(plan, reasoner, lanes_there, "reasoner loading")
        of_reasoner = Collector(plan, reasoner, lanes_there, is_policy=False)
        yield of_reasoner.prefill()
        yield of_reasoner.decode()
    update = Update(plan, policy, slice_devices(plan.target))
    if plan.target.chips > 1:
        yield moving_role(plan, update, lanes)
    yield update_role(update)


def _sampled(plan: RunPlan, name: str) -> tuple[ModelConfig, MeshShape]:
    """A model with its vocabulary padded for all of its meshes, and its lanes."""
    is_policy = name == plan.policy
    role = plan.roles.policy if is_policy else plan.roles.reasoner
    config = model_config(name, 1, plan.max_length)
    lanes = plan.lanes(config, role)
    ways = math.lcm(lanes.tensor, plan.mesh.tensor) if is_policy else lanes.tensor
    return model_config(name, ways, plan.max_length), lanes


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
