"""Operations and memory traffic of one program, counted from the configuration.

Counted are the matrix products, which are all but a few percent: a product of [n, i]
and [i, o] is 2 n i o operations, and reads both and writes the result once. What is
between them (norms, activations, softmax) is taken as fused and free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sophia_jax.config import ModelConfig, TextConfig, VisionConfig

__all__ = [
    "Passes",
    "Work",
    "causal_pairs",
    "decode_work",
    "decoder_weights",
    "head_weights",
    "kv_bytes",
    "layer_bytes",
    "prefill_work",
    "tower_weights",
    "tower_work",
    "training_passes",
    "update_work",
]

BYTES = 2  # of a bfloat16 number
WIDE = 4  # of a float32 number
LOGITS_READ = 3  # times that a step of decoding reads its logits: draw, two log-probs


@dataclass(frozen=True)
class Work:
    """What is done, by all chips together or by one.

    Attributes:
      flops: operations of matrix products.
      hbm_bytes: read from and written to memory.
    """

    flops: float = 0.0
    hbm_bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.hbm_bytes + other.hbm_bytes)

    def __mul__(self, times: float) -> Work:
        return Work(self.flops * times, self.hbm_bytes * times)


@dataclass(frozen=True)
class Passes:
    """How often a training step forms products, in forward passes.

    Attributes:
      layers: of the layers' weights.
      attention: of scores and their product with the values.
      head: of the output head.
    """

    layers: float
    attention: float
    head: float


def training_passes(text: TextConfig, *, remat: str, learn_weights: bool) -> Passes:
    """Forward, backward into the inputs, and backward into the weights.

    The attention's backward pass is five products where the forward one is two, since
    it forms the scores again; the head's forms its logits again.

    Args:
      text: the decoder.
      remat: "none"; "block", for one more forward pass of the layers; "projections",
        for one more of the gated MLP's first products alone.
      learn_weights: False where only adapters learn, for which the weights' own
        gradients are not formed.
    """
    first_products = 2 * text.hidden_size * text.mlp_size / decoder_weights(text)
    again = {"none": 0.0, "block": 1.0, "projections": first_products}[remat]
    return Passes(
        layers=2.0 + learn_weights + again,
        attention=1.0 + 2.5 + (remat == "block"),
        head=3.0 + learn_weights,
    )


def decoder_weights(text: TextConfig) -> int:
    """Numbers in one layer's matrices."""
    heads, kv_heads = text.num_heads * text.head_dim, text.num_kv_heads * text.head_dim
    embed, mlp = text.hidden_size, text.mlp_size
    return 2 * embed * heads + 2 * embed * kv_heads + 3 * embed * mlp


def head_weights(text: TextConfig) -> int:
    """Numbers in the output head, padding included."""
    return text.hidden_size * text.embedding_rows


def tower_weights(vision: VisionConfig) -> int:
    """Numbers in one layer's matrices of the vision tower."""
    return 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.mlp_size


def causal_pairs(lengths: Iterable[int]) -> float:
    """Pairs of a token and one that it sees, itself included, of whole sequences.

    Σ n (n + 1) / 2
    """
    return sum(length * (length + 1) / 2 for length in lengths)


def tower_work(config: ModelConfig, tiles: float) -> Work:
    """Of one chip that encodes tiles with all of the tower's weights, and projects.

    Args:
      config: of a vision-language model.
      tiles: of this chip.
    """
    vision, embed = config.vision, config.text.hidden_size
    patches = vision.patches_per_side**2 + 1
    size, mlp = vision.hidden_size, vision.mlp_size
    pixels = vision.patch_size**2 * vision.num_channels
    folded = size * config.pixel_shuffle**2
    layers = vision.num_layers
    tokens, image_tokens = tiles * patches, tiles * config.tokens_per_tile
    pairs = tiles * patches**2
    flops = layers * (2 * tokens * tower_weights(vision) + 4 * pairs * size)
    flops += 2 * tiles * (patches - 1) * pixels * size
    projector = folded * embed + embed**2
    flops += 2 * image_tokens * projector
    weights = layers * tower_weights(vision) + pixels * size + projector
    numbers = layers * tokens * (8 * size + 2 * (size + mlp))
    return Work(flops, (weights + numbers) * BYTES)


def layers_work(
    text: TextConfig, tokens: float, pairs: float, *, tensor: int = 1
) -> Work:
    """Of one chip of `tensor` that take tokens through all layers, forward.

    Args:
      text: the decoder.
      tokens: of all sequences.
      pairs: of tokens and those that they see; keys and values are read once for all
        queries of a head's group in a block, which is next to nothing here.
      tensor: chips that share each matrix.
    """
    flops = 2 * tokens * decoder_weights(text)
    flops += 4 * pairs * text.num_heads * text.head_dim
    embed = text.hidden_size  # of which each chip reads and writes all
    numbers = decoder_weights(text) / tensor + tokens * (
        7 * embed + _shared(text) / tensor
    )
    return Work(flops / tensor, numbers * BYTES) * text.num_layers


def layer_bytes(text: TextConfig, tokens: float, *, tensor: int = 1) -> int:
    """What one layer's forward pass leaves in memory at most, of bfloat16."""
    return round(tokens * (6 * text.hidden_size + _shared(text) / tensor) * BYTES)


def _shared(text: TextConfig) -> int:
    """Numbers of a token that the chips of a layer share: heads, and the MLP's."""
    return 2 * (text.num_heads + text.num_kv_heads) * text.head_dim + 3 * text.mlp_size


def kv_bytes(text: TextConfig) -> int:
    """Keys and values of one token, in all layers."""
    return 2 * text.num_layers * text.num_kv_heads * text.head_dim * BYTES


def prefill_work(
    text: TextConfig, *, sequences: int, tokens: int, context: int, tensor: int = 1
) -> Work:
    """Of one chip of a lane that reads pieces of prompts.

    Args:
      text: the decoder.
      sequences: pieces that are read together.
      tokens: of each piece.
      context: that stands before each piece.
      tensor: chips of the lane.
    """
    pairs = sequences * (tokens * context + causal_pairs([tokens]))
    cache = sequences * (context + 2 * tokens) * kv_bytes(text) / tensor
    work = layers_work(text, sequences * tokens, pairs, tensor=tensor)
    return work + Work(hbm_bytes=cache)


def decode_work(
    text: TextConfig, *, slots: int, context: float, tensor: int = 1
) -> Work:
    """Of one chip of a lane, in one step: one token of every slot.

    Args:
      text: the decoder.
      slots: sequences that are decoded together.
      context: mean number of tokens whose keys and values a slot reads from memory;
        of a prompt that slots share, its part.
      tensor: chips of the lane.
    """
    logits = slots * text.embedding_rows
    cache = slots * (context + 1) * kv_bytes(text)
    head = Work(2 * slots * head_weights(text), head_weights(text) * BYTES)
    head += Work(hbm_bytes=logits * WIDE * LOGITS_READ + cache)
    return layers_work(text, slots, slots * context, tensor=tensor) + head * (
        1 / tensor
    )


def update_work(
    config: ModelConfig,
    *,
    tokens: float,
    pairs: float,
    learnt: float,
    passes: Passes,
    micro_batches: int,
    tensor: int,
    shards: int,
    weights: float,
    state_bytes: float,
) -> Work:
    """Of one chip, in one update.

    Args:
      config: the policy.
      tokens: of this chip's rows, of all micro-batches.
      pairs: of these tokens and those that they see.
      learnt: tokens of this chip that are predicted.
      passes: of `training_passes`.
      micro_batches: after each of which weights are read anew.
      tensor: chips that share each matrix.
      shards: chips that share the weights and the optimizer's state in all.
      weights: numbers that learn.
      state_bytes: of each of them, read and written by the optimizer: weight, gradient,
        moments.
    """
    text = config.text
    layers = layers_work(text, tokens, 0.0, tensor=tensor)
    layers += Work(
        hbm_bytes=(micro_batches - 1)
        * text.num_layers
        * decoder_weights(text)
        * BYTES
        / tensor
    )
    attention = 4 * pairs * text.num_heads * text.head_dim * text.num_layers / tensor
    head = Work(
        2 * learnt * head_weights(text) / tensor,
        (
            micro_batches * head_weights(text) * BYTES
            + learnt * text.embedding_rows * WIDE
        )
        / tensor,
    )
    gradients = 2 * WIDE * micro_batches  # read and written by each sum
    optimizer = weights / shards * (state_bytes + gradients)
    work = layers * passes.layers + head * passes.head
    return work + Work(attention * passes.attention, optimizer)
