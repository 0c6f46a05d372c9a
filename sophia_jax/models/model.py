"""A model as its users hold it: configuration, structure, weights, tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import LoraConfig, ModelConfig
from sophia_jax.sharding import Partition
from sophia_jax.tiles import TileGeometry

__all__ = ["Model", "check_merged"]


@dataclass(frozen=True)
class Model:
    """Everything that is needed to run a model; `dataclasses.replace` makes variants.

    Attributes:
      config: its sizes.
      graphdef: `nnx.merge(graphdef, params)` is the module.
      params: nested dict with the parts `decoder` and, with pictures, `vision` and
        `projector`; and `adapters`, if it has some.
      tokenizer: of `transformers`, with a chat template.
      tiles: how pictures are cut; None for a text-only model.
      partition: how weights and activations lie on a mesh; None for one device.
      other_end_ids: tokens that end an answer beside the tokenizer's `eos_token`.
      lora: of the adapters; None without any.
    """

    config: ModelConfig
    graphdef: nnx.GraphDef
    params: dict
    tokenizer: Any
    tiles: TileGeometry | None = None
    other_end_ids: tuple[int, ...] = ()
    partition: Partition | None = None
    lora: LoraConfig | None = None

    @property
    def dtype(self) -> jnp.dtype:
        """Of the weights; adapters may have another."""
        return self.params["decoder"]["embedding"]["embedding"].dtype

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer; the first is the one that is learnt."""
        return (self.tokenizer.eos_token_id, *self.other_end_ids)


def check_merged(model: Model) -> None:
    """Whether a model's weights are all there is to it.

    Raises:
      ValueError: it has adapters beside them.
    """
    if model.lora is not None:
        raise ValueError(
            "model: expected one without adapters, got one with adapters of rank "
            f"{model.lora.rank}; merge_adapters makes them a part of its weights"
        )
