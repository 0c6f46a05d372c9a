"""A vision-language model (or its decoder alone) and the pure functions around it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import LoraConfig, ModelConfig, Remat
from sophia_jax.models.decoder import Decoder
from sophia_jax.models.low_rank import stacked_adapters
from sophia_jax.models.vision import InternViT, Projector, pixel_shuffle
from sophia_jax.sharding import Partition
from sophia_jax.sharding.rules import constrain
from sophia_jax.types import Array, Float, Int

__all__ = [
    "InternVL",
    "abstract_params",
    "init_params",
    "model_graph",
    "tower_graph",
]


class InternVL(nnx.Module):
    """Vision tower, projector and decoder; without a vision config, the decoder.

    Activations are laid out as `partition` says; None leaves them where they are.
    What `lora` asks for stands beside the three, in `adapters`; with `decoder` False
    there is only what encodes pictures.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        rngs: nnx.Rngs,
        partition: Partition | None = None,
        lora: LoraConfig | None = None,
        decoder: bool = True,
    ):
        self.config = config
        self.partition = partition
        if config.vision is not None:
            self.vision = InternViT(config.vision, rngs=rngs, partition=partition)
            self.projector = Projector(config, rngs=rngs, partition=partition)
        if not decoder:
            return
        adapters = None
        if lora is not None:
            adapters = self.adapters = stacked_adapters(config.text, lora, rngs)
        self.decoder = Decoder(
            config.text, rngs=rngs, partition=partition, adapters=adapters
        )

    def encode_images(
        self,
        tiles: Float[Array, "tile height width channel"],
        *,
        remat: Remat = "none",
    ) -> Float[Array, "tile image_token embed"]:
        """What the decoder reads in place of each tile's image tokens."""
        tiles = constrain(self.partition, tiles, "tile", None, None, None)
        patches = self.vision(tiles, remat=remat)
        features = self.projector(pixel_shuffle(patches, self.config.pixel_shuffle))
        return constrain(self.partition, features, "tile", None, None)

    def embed(
        self,
        token_ids: Int[Array, "batch token"],
        features: Float[Array, "tile image_token embed"] | None,
        image_index: Int[Array, "batch token"],
        *,
        num_shards: int = 1,
    ) -> Float[Array, "batch token embed"]:
        """Token embeddings, with image features in the placeholders' stead.

        Args:
          token_ids: with a placeholder wherever an image token stands.
          features: of `encode_images`, or None for text alone.
          image_index: tile * image_token + token for a placeholder, -1 for text; of
            several shards, within the shard's own tiles.
          num_shards: equal shares of rows and tiles, of which none reads another's.
        """
        embeds = self.decoder.embed(token_ids)
        if features is not None:
            flat = features.reshape(num_shards, -1, features.shape[-1])
            index = image_index.reshape(num_shards, -1, 1)
            flat = constrain(self.partition, flat, "batch", None, None)
            shown = jnp.take_along_axis(flat, index, axis=1)
            shown = constrain(self.partition, shown, "batch", None, None)
            is_image = image_index[..., None] >= 0
            shown = shown.reshape(embeds.shape).astype(embeds.dtype)
            embeds = jnp.where(is_image, shown, embeds)
        return constrain(self.partition, embeds, "batch", "token", None)


def model_graph(
    config: ModelConfig,
    partition: Partition | None = None,
    *,
    lora: LoraConfig | None = None,
) -> nnx.GraphDef:
    """The model's structure: `nnx.merge(model_graph(config), params)` is the model."""
    return nnx.split(_abstract(config, partition, lora))[0]


def tower_graph(
    config: ModelConfig, partition: Partition | None = None
) -> nnx.GraphDef:
    """The structure of the parts `vision` and `projector` alone."""
    return nnx.split(_abstract(config, partition, decoder=False))[0]


def abstract_params(config: ModelConfig, *, lora: LoraConfig | None = None) -> dict:
    """The shapes and dtypes of `init_params`, and of adapters; nothing is allocated."""
    return nnx.to_pure_dict(nnx.split(_abstract(config, lora=lora))[1])


def init_params(key: jax.Array, config: ModelConfig) -> dict:
    """Random weights, by fan-in (LeCun normal), as a nested dict."""
    return nnx.to_pure_dict(nnx.split(InternVL(config, rngs=nnx.Rngs(key)))[1])


def _abstract(
    config: ModelConfig,
    partition: Partition | None = None,
    lora: LoraConfig | None = None,
    *,
    decoder: bool = True,
) -> InternVL:
    def make() -> InternVL:
        return InternVL(
            config, rngs=nnx.Rngs(0), partition=partition, lora=lora, decoder=decoder
        )

    return nnx.eval_shape(make)
