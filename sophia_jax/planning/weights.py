"""Weights of models that are sampled, as shapes with their places."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from sophia_jax.config import ModelConfig
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.logical_axes import check_partition, param_shardings
from sophia_jax.sharding import DECODING, Partition, make_mesh

__all__ = ["abstract_weights", "decoding_partition"]


def decoding_partition(
    config: ModelConfig, devices: Sequence[jax.Device], tensor: int
) -> Partition:
    """Devices in lanes of `tensor` each, with the rules for decoding."""
    mesh = make_mesh(data=-1, tensor=tensor, devices=devices)
    partition = Partition(mesh, DECODING)
    check_partition(config, partition)
    return partition


def abstract_weights(config: ModelConfig, partition: Partition) -> dict:
    """The shapes of weights in bfloat16, and their places."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(
            leaf.shape, jnp.bfloat16, sharding=place
        ),
        shapes_of(config),
        param_shardings(config, partition),
    )


shapes_of = functools.lru_cache(
    abstract_params
)  # which takes a while, and is asked often
