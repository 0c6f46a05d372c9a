"""What a chip receives over the network, counted from the configuration and the mesh.

Of n chips that gather an array of b bytes, each receives (n - 1) / n b; of those that
sum arrays of b bytes and keep a part each (reduce-scatter), as much; where each keeps
the whole sum (all-reduce), twice that.
"""

from __future__ import annotations

from dataclasses import dataclass

from sophia_jax.config import ModelConfig, TextConfig
from sophia_jax.planning.counts import (
    BYTES,
    WIDE,
    decoder_weights,
    head_weights,
    tower_weights,
)

__all__ = [
    "MeshShape",
    "Traffic",
    "all_gather",
    "all_reduce",
    "lane_traffic",
    "tower_traffic",
    "update_traffic",
]


@dataclass(frozen=True)
class MeshShape:
    """Chips along each axis of a mesh."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1

    def __post_init__(self) -> None:
        for name, size in vars(self).items():
            if size < 1:
                raise ValueError(f"{name}: expected >= 1, got {size}")

    @property
    def chips(self) -> int:
        return self.data * self.fsdp * self.tensor * self.context

    def __str__(self) -> str:
        axes = [f"{name} {size}" for name, size in vars(self).items() if size > 1]
        return " x ".join(axes) or "1 chip"


@dataclass(frozen=True)
class Traffic:
    """Bytes that one chip receives: within a slice, and between slices."""

    ici_bytes: float = 0.0
    dcn_bytes: float = 0.0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.ici_bytes + other.ici_bytes, self.dcn_bytes + other.dcn_bytes
        )


def all_gather(num_bytes: float, chips: int) -> float:
    """What each of some chips receives, who hold a part each of so many bytes."""
    return num_bytes * (chips - 1) / chips


def all_reduce(num_bytes: float, chips: int) -> float:
    """What each of some chips receives, who hold so many bytes each."""
    return 2 * all_gather(num_bytes, chips)


def lane_traffic(text: TextConfig, tokens: float, tensor: int, *, head: bool) -> float:
    """What a chip of a lane receives while it takes tokens through the layers.

    Attention and MLP each end with a sum over the chips; so does the embedding, whose
    rows they share. The head's logits, float32, are gathered to be drawn from.

    Args:
      text: the decoder.
      tokens: of all sequences.
      tensor: chips of the lane.
      head: whether logits are formed of them.
    """
    states = tokens * text.hidden_size * BYTES
    received = all_reduce(states, tensor) * (2 * text.num_layers + 1)
    logits = tokens * text.embedding_rows * WIDE if head else 0.0
    return received + all_gather(logits, tensor)


def tower_traffic(config: ModelConfig, tensor: int) -> float:
    """What a chip of a lane receives while it encodes its share of some tiles.

    Tiles are dealt out, and each layer's weights are gathered for use.
    """
    vision, embed = config.vision, config.text.hidden_size
    pixels = vision.patch_size**2 * vision.num_channels
    projector = vision.hidden_size * config.pixel_shuffle**2 * embed + embed**2
    weights = vision.num_layers * tower_weights(vision)
    weights += pixels * vision.hidden_size + projector
    return all_gather(weights * BYTES, tensor)


def update_traffic(
    config: ModelConfig,
    mesh: MeshShape,
    *,
    tokens: float,
    micro_batches: int,
    remat: str,
    learnt_share: float,
    weight_shards: int | None = None,
    num_slices: int = 1,
) -> Traffic:
    """What a chip receives in one update.

    Args:
      config: the policy, whose decoder learns.
      mesh: of the update; slices are the outer part of its `data` axis.
      tokens: of this chip's rows, of all micro-batches.
      micro_batches: weights are gathered for each, forward and backward.
      remat: as of `training_passes`.
      learnt_share: of the decoder's weights, those whose gradients are summed.
      weight_shards: chips, `tensor` apart, that share the weights; None for `fsdp`.
      num_slices: joined by the data-centre network.
    """
    text = config.text
    shards = mesh.fsdp if weight_shards is None else weight_shards
    passes = 2 if remat == "none" else 3
    layers = text.num_layers * decoder_weights(text)
    weights = (layers + 2 * head_weights(text)) / mesh.tensor
    gathered = all_gather(weights * BYTES, shards) * 2 * micro_batches
    gradients = weights * learnt_share * WIDE
    reduced = all_gather(gradients, shards) * micro_batches
    own = gradients / shards
    copies = mesh.data * mesh.fsdp * mesh.context // shards
    within, between = copies // num_slices, num_slices
    summed = all_reduce(own, within) * micro_batches
    states = all_reduce(tokens * text.hidden_size * BYTES, mesh.tensor)
    tensor = 2 * text.num_layers * states * passes
    row = tokens * mesh.context * 2 * text.num_kv_heads * text.head_dim * BYTES
    context = all_gather(row / mesh.tensor, mesh.context) * text.num_layers * passes
    return Traffic(
        gathered + reduced + summed + tensor + context,
        all_reduce(own / within, between),
    )
