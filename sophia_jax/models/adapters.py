"""A model's adapters: added before training, merged into the weights after it."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import LoraConfig, TextConfig
from sophia_jax.models.internvl import model_graph
from sophia_jax.models.logical_axes import placed_by, with_paths
from sophia_jax.models.low_rank import stacked_adapters
from sophia_jax.models.model import Model, check_merged
from sophia_jax.types import Array, Float, typed

__all__ = ["add_adapters", "merge_adapters", "with_adapters"]


def add_adapters(key: jax.Array, model: Model, lora: LoraConfig) -> Model:
    """A model with adapters that change nothing yet: A is random, and B is zero.

    Its other weights are shared with the given model, not copied. Let
    `trainable=("adapters",)` learn.

    Args:
      key: of A.
      model: without adapters.
      lora: rank, scale, and which matrices.

    Returns:
      The model, with a part `adapters` of its parameters: for each matrix `a`
      [layer in rank] and `b` [layer rank out], in float32.

    Raises:
      ValueError: it has adapters already.

    Reference:
      Hu et al., 2021, "LoRA", https://arxiv.org/abs/2106.09685, section 4.1.
    """
    check_merged(model)
    return with_adapters(model, lora, _init(key, model.config.text, lora))


def with_adapters(model: Model, lora: LoraConfig, adapters: dict) -> Model:
    """A model without adapters, and these beside its weights, on the same mesh."""
    if model.partition is not None:
        place = placed_by(model.partition)
        adapters = with_paths(
            lambda path, leaf: jax.device_put(
                leaf, place(f"adapters.{path}", leaf.shape)
            ),
            adapters,
        )
    return dataclasses.replace(
        model,
        graphdef=model_graph(model.config, model.partition, lora=lora),
        params=model.params | {"adapters": adapters},
        lora=lora,
    )


def merge_adapters(model: Model, *, donate: bool = False) -> Model:
    """A model without adapters that computes what one with them does.

        W <- W + alpha / rank A B

    in float32, rounded to the dtype of W; one layer of one matrix at a time.

    Args:
      model: with adapters.
      donate: take the given model's matrices instead of copying those that change: it
        cannot be used again.

    Returns:
      The model; what no adapter changed is shared with the given one.

    Raises:
      ValueError: it has no adapters.
    """
    if model.lora is None:
        raise ValueError("model: expected one with adapters, got one without")
    params = {part: model.params[part] for part in model.params if part != "adapters"}
    layers = dict(params["decoder"]["layers"])
    merge = _merged_in_place if donate else _merged
    for name, adapter in model.params["adapters"].items():
        kernel = merge(layers[name]["kernel"], **adapter, scale=model.lora.scale)
        layers[name] = layers[name] | {"kernel": kernel}
    params["decoder"] = params["decoder"] | {"layers": layers}
    graphdef = model_graph(model.config, model.partition)
    return dataclasses.replace(model, graphdef=graphdef, params=params, lora=None)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _init(key: jax.Array, config: TextConfig, lora: LoraConfig) -> dict:
    adapters = stacked_adapters(config, lora, nnx.Rngs(key))
    return nnx.to_pure_dict(nnx.split(adapters)[1])


@typed
def _merge(
    kernel: Float[Array, "layer inputs outputs"],
    a: Float[Array, "layer inputs rank"],
    b: Float[Array, "layer rank outputs"],
    scale: float | Float[Array, ""],
) -> Float[Array, "layer inputs outputs"]:
    """All layers in turn, so that float32 copies are of one layer alone."""

    def add(layer: Array, kernel: Array) -> Array:
        product = jnp.matmul(a[layer], b[layer], precision="highest")
        merged = kernel[layer] + scale * product.astype(jnp.float32)
        return kernel.at[layer].set(merged.astype(kernel.dtype))

    return jax.lax.fori_loop(0, len(kernel), add, kernel)


_merged = jax.jit(_merge)
_merged_in_place = jax.jit(_merge, donate_argnames="kernel")
