"""InternViT, pixel shuffle and the projector: from tiles to image tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.config import ModelConfig, Remat, VisionConfig
from sophia_jax.models.attention_backends import full_attention
from sophia_jax.models.layers import LayerNorm, RMSNorm, stack_layers
from sophia_jax.models.remat import kept, rematerialised
from sophia_jax.sharding import Partition
from sophia_jax.sharding.rules import constrain
from sophia_jax.types import Array, Float, typed

__all__ = ["InternViT", "Projector", "pixel_shuffle"]

PROJECTOR_NORM_EPS = 1e-5  # torch's LayerNorm default, which the projector keeps


def make_norm(config: VisionConfig) -> nnx.Module:
    norm = RMSNorm if config.norm == "rms_norm" else LayerNorm
    return norm(config.hidden_size, config.norm_eps)


class VisionAttention(nnx.Module):
    def __init__(
        self, config: VisionConfig, rngs: nnx.Rngs, partition: Partition | None
    ):
        self.partition = partition
        size = config.hidden_size
        self.num_heads = config.num_heads
        self.query = nnx.Linear(size, size, use_bias=config.qkv_bias, rngs=rngs)
        self.key = nnx.Linear(size, size, use_bias=config.qkv_bias, rngs=rngs)
        self.value = nnx.Linear(size, size, use_bias=config.qkv_bias, rngs=rngs)
        self.out = nnx.Linear(size, size, rngs=rngs)
        if config.qk_norm:
            self.query_norm = RMSNorm(size, epsilon=1e-6)
            self.key_norm = RMSNorm(size, epsilon=1e-6)
        self.qk_norm = config.qk_norm

    def __call__(self, x: Array) -> Array:
        query, key, value = (
            kept(constrain(self.partition, project(x), "tile", None, None))
            for project in (self.query, self.key, self.value)
        )
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        heads = (*x.shape[:2], self.num_heads, -1)
        query, key, value = (part.reshape(heads) for part in (query, key, value))
        out = full_attention(query, key, value, partition=self.partition)
        return kept(self.out(out.reshape(x.shape)))


class VisionLayer(nnx.Module):
    def __init__(
        self, config: VisionConfig, rngs: nnx.Rngs, partition: Partition | None
    ):
        self.partition = partition
        size = config.hidden_size
        self.attention_norm = make_norm(config)
        self.attention = VisionAttention(config, rngs, partition)
        self.attention_scale = nnx.Param(jnp.full((size,), config.layer_scale))
        self.mlp_norm = make_norm(config)
        self.up = nnx.Linear(size, config.mlp_size, rngs=rngs)
        self.down = nnx.Linear(config.mlp_size, size, rngs=rngs)
        self.mlp_scale = nnx.Param(jnp.full((size,), config.layer_scale))

    def __call__(self, x: Array) -> Array:
        x = x + self.attention_scale[None, None] * self.attention(
            self.attention_norm(x)
        )
        hidden = jax.nn.gelu(self.up(self.mlp_norm(x)), approximate=False)
        hidden = constrain(self.partition, hidden, "tile", None, None)
        x = x + self.mlp_scale[None, None] * self.down(hidden)
        return constrain(self.partition, x, "tile", None, None)


class InternViT(nnx.Module):
    """The vision transformer: patches and a class token, no final norm."""

    def __init__(
        self,
        config: VisionConfig,
        *,
        rngs: nnx.Rngs,
        partition: Partition | None = None,
    ):
        self.partition = partition
        size, patch = config.hidden_size, config.patch_size
        self.patch_size = patch
        self.patch = nnx.Linear(patch * patch * config.num_channels, size, rngs=rngs)
        normal = jax.nn.initializers.normal(size**-0.5)
        self.class_token = nnx.Param(normal(rngs.params(), (1, 1, size)))
        num_positions = config.patches_per_side**2 + 1
        self.positions = nnx.Param(normal(rngs.params(), (1, num_positions, size)))
        self.layers = stack_layers(
            lambda rngs: VisionLayer(config, rngs, partition), config.num_layers, rngs
        )

    def __call__(
        self,
        tiles: Float[Array, "tile height width channel"],
        *,
        remat: Remat = "none",
    ) -> Float[Array, "tile patch hidden"]:
        """One vector per patch, row by row; the class token is dropped."""
        tiles = tiles.astype(self.patch.kernel.dtype)
        x = self.patch(fold_patches(tiles, self.patch_size))
        x = constrain(self.partition, x, "tile", None, None)
        class_token = jnp.broadcast_to(
            self.class_token[...], (x.shape[0], 1, x.shape[2])
        ).astype(x.dtype)
        x = jnp.concatenate([class_token, x], axis=1) + self.positions[...]
        x = constrain(self.partition, x, "tile", None, None)
        graphdef, weights = nnx.split(self.layers)

        def layer(x: Array, weights: nnx.State) -> tuple[Array, None]:
            return nnx.merge(graphdef, weights)(x), None

        return jax.lax.scan(rematerialised(layer, remat), x, weights)[0][:, 1:]


class Projector(nnx.Module):
    """From folded patches to the decoder's embedding space."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        rngs: nnx.Rngs,
        partition: Partition | None = None,
    ):
        self.partition = partition
        folded = config.vision.hidden_size * config.pixel_shuffle**2
        embed = config.text.hidden_size
        self.norm = LayerNorm(folded, PROJECTOR_NORM_EPS)
        self.up = nnx.Linear(folded, embed, rngs=rngs)
        self.down = nnx.Linear(embed, embed, rngs=rngs)

    def __call__(
        self, x: Float[Array, "tile token folded"]
    ) -> Float[Array, "tile token embed"]:
        hidden = jax.nn.gelu(self.up(self.norm(x)), approximate=False)
        return self.down(constrain(self.partition, hidden, "tile", None, None))


@typed
def fold_patches(
    tiles: Float[Array, "tile height width channel"], patch_size: int
) -> Float[Array, "tile patch pixel"]:
    """Cut tiles into patches, row by row; a patch is read row, column, channel."""
    tile, height, width, channel = tiles.shape
    rows, columns = height // patch_size, width // patch_size
    x = tiles.reshape(tile, rows, patch_size, columns, patch_size, channel)
    return x.swapaxes(2, 3).reshape(tile, rows * columns, -1)


@typed
def pixel_shuffle(
    x: Float[Array, "tile patch hidden"], factor: int
) -> Float[Array, "tile token folded"]:
    """Fold each factor x factor square of patches into one token (InternVL's "v2").

    Args:
      x: patches of a square grid, row by row.
      factor: patches per side of a square: the inverse of `downsample_ratio`.

    Returns:
      Tokens row by row; channels are ordered (row in square, column in square, hidden).

    Literature:
      Chen et al., 2024, "How Far Are We to GPT-4V?", https://arxiv.org/abs/2404.16821.
    """
    tile, patch, hidden = x.shape
    side = round(patch**0.5)
    squares = side // factor
    x = x.reshape(tile, squares, factor, squares, factor, hidden)
    return x.swapaxes(2, 3).reshape(tile, squares**2, factor * factor * hidden)
