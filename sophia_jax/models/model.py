"""A model as its users hold it: configuration, structure, weights, tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flax import nnx

from sophia_jax.config import ModelConfig
from sophia_jax.sharding import Partition
from sophia_jax.tiles import TileGeometry

__all__ = ["Model"]


@dataclass(frozen=True)
class Model:
    """Everything that is needed to run a model; `dataclasses.replace` makes variants.

    Attributes:
      config: its sizes.
      graphdef: `nnx.merge(graphdef, params)` is the module.
      params: nested dict with the parts `decoder` and, with pictures, `vision` and
        `projector`.
      tokenizer: of `transformers`, with a chat template.
      tiles: how pictures are cut; None for a text-only model.
      partition: how weights and activations lie on a mesh; None for one device.
      other_end_ids: tokens that end an answer beside the tokenizer's `eos_token`.
    """

    config: ModelConfig
    graphdef: nnx.GraphDef
    params: dict
    tokenizer: Any
    tiles: TileGeometry | None = None
    other_end_ids: tuple[int, ...] = ()
    partition: Partition | None = None

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer; the first is the one that is learnt."""
        return (self.tokenizer.eos_token_id, *self.other_end_ids)
