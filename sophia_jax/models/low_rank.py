"""Low-rank adapters beside the matrices of a decoder's layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import LoraConfig, LoraTarget, TextConfig
from sophia_jax.models.layers import stack_layers
from sophia_jax.types import Array

__all__ = ["LayerAdapters", "LowRank", "adapted", "stacked_adapters"]

# As torch draws a linear layer: uniform within ± 1 / √inputs.
_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class LowRank(nnx.Module):
    """What an adapter adds to a matrix's product, alpha / rank (x A) B.

    The weights are float32, whatever the model's are: they alone learn.
    """

    def __init__(self, inputs: int, outputs: int, lora: LoraConfig, rngs: nnx.Rngs):
        self.a = nnx.Param(_uniform(rngs.params(), (inputs, lora.rank)))
        self.b = nnx.Param(jnp.zeros((lora.rank, outputs)))
        self.scale = lora.scale

    def __call__(self, x: Array) -> Array:
        a, b = (matrix[...].astype(x.dtype) for matrix in (self.a, self.b))
        return self.scale * ((x @ a) @ b)


LayerAdapters = Mapping[LoraTarget, LowRank]
"""One layer's adapters by what they adapt; or, stacked, those of all layers."""


def stacked_adapters(
    config: TextConfig, lora: LoraConfig, rngs: nnx.Rngs
) -> LayerAdapters:
    """Adapters of all layers, on a leading layer axis: A at random, and B zero."""
    heads, kv_heads = (
        count * config.head_dim for count in (config.num_heads, config.num_kv_heads)
    )
    embed, mlp = config.hidden_size, config.mlp_size
    sizes = {
        "query": (embed, heads),
        "key": (embed, kv_heads),
        "value": (embed, kv_heads),
        "out": (heads, embed),
        "gate": (embed, mlp),
        "up": (embed, mlp),
        "down": (mlp, embed),
    }

    def layer(rngs: nnx.Rngs) -> nnx.Dict:
        return nnx.Dict(
            {name: LowRank(*sizes[name], lora, rngs) for name in lora.targets}
        )

    return stack_layers(layer, config.num_layers, rngs)


def adapted(
    adapters: LayerAdapters | None,
    name: LoraTarget,
    linear: Callable[[Array], Array],
    x: Array,
) -> Array:
    """x W + b, and what the adapter of that name adds, if there is one.

        y = x W + b + alpha / rank (x A) B

    Reference:
      Hu et al., 2021, "LoRA", https://arxiv.org/abs/2106.09685, eq. (3).
    """
    y = linear(x)
    if adapters is None or name not in adapters:
        return y
    return y + adapters[name](x)
