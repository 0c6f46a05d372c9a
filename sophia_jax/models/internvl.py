"""A vision-language model (or its decoder alone) and the pure functions around it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import LoraConfig, ModelConfig
from sophia_jax.models.decoder import Decoder
from sophia_jax.models.low_rank import stacked_adapters
from sophia_jax.models.vision import InternViT, Projector, pixel_shuffle
from sophia_jax.types import Array, Float, Int

__all__ = ["InternVL", "abstract_params", "init_params", "model_graph"]


class InternVL(nnx.Module):
    """Vision tower, projector and decoder; without a vision config, the decoder.

    What `lora` asks for stands beside them, in `adapters`.
    """

    def __init__(
        self, config: ModelConfig, *, rngs: nnx.Rngs, lora: LoraConfig | None = None
    ):
        self.config = config
        if config.vision is not None:
            self.vision = InternViT(config.vision, rngs=rngs)
            self.projector = Projector(config, rngs=rngs)
        adapters = None
        if lora is not None:
            adapters = self.adapters = stacked_adapters(config.text, lora, rngs)
        self.decoder = Decoder(config.text, rngs=rngs, adapters=adapters)

    def encode_images(
        self, tiles: Float[Array, "tile height width channel"]
    ) -> Float[Array, "tile image_token embed"]:
        """What the decoder reads in place of each tile's image tokens."""
        patches = self.vision(tiles)
        return self.projector(pixel_shuffle(patches, self.config.pixel_shuffle))

    def embed(
        self,
        token_ids: Int[Array, "batch token"],
        features: Float[Array, "tile image_token embed"] | None,
        image_index: Int[Array, "batch token"],
    ) -> Float[Array, "batch token embed"]:
        """Token embeddings, with image features in the placeholders' stead.

        Args:
          token_ids: with a placeholder wherever an image token stands.
          features: of `encode_images`, or None for text alone.
          image_index: tile * image_token + token for a placeholder, -1 for text.
        """
        embeds = self.decoder.embedding(token_ids)
        if features is None:
            return embeds
        flat = features.reshape(-1, features.shape[-1]).astype(embeds.dtype)
        return jnp.where(image_index[..., None] >= 0, flat[image_index], embeds)


def model_graph(config: ModelConfig, *, lora: LoraConfig | None = None) -> nnx.GraphDef:
    """The model's structure: `nnx.merge(model_graph(config), params)` is the model."""
    return nnx.split(_abstract(config, lora))[0]


def abstract_params(config: ModelConfig, *, lora: LoraConfig | None = None) -> dict:
    """The shapes and dtypes of `init_params`, and of adapters; nothing is allocated."""
    return nnx.to_pure_dict(nnx.split(_abstract(config, lora))[1])


def init_params(key: jax.Array, config: ModelConfig) -> dict:
    """Random weights, by fan-in (LeCun normal), as a nested dict."""
    return nnx.to_pure_dict(nnx.split(InternVL(config, rngs=nnx.Rngs(key)))[1])


def _abstract(config: ModelConfig, lora: LoraConfig | None) -> InternVL:
    return nnx.eval_shape(lambda: InternVL(config, rngs=nnx.Rngs(0), lora=lora))
