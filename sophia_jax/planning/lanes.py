"""The programs of a lane: encode pictures, read prompts, decode.

A lane is `tensor` chips of one host with the weights between them; lanes do not talk to
each other. Each function here hands the engine's own program, with abstract arguments
of the shapes that the engine would give it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.config import ModelConfig, SamplingConfig
from sophia_jax.generation.decode import (
    PromptBatch,
    Slots,
    decode_chunk,
    fill_prompts,
)
from sophia_jax.generation.engine import CHUNK
from sophia_jax.generation.images import _run_tower
from sophia_jax.generation.layout import GATHERED, Layout, make_layout, page_bytes
from sophia_jax.generation.readers import Part, chain_shape, make_chains, rows_of
from sophia_jax.models.internvl import model_graph, tower_graph
from sophia_jax.models.paged import Pages, Rows, cache_sharding
from sophia_jax.planning.compiling import Program, shard_bytes
from sophia_jax.planning.counts import BYTES, LOGITS_READ, WIDE, layer_bytes
from sophia_jax.planning.weights import abstract_weights, decoding_partition
from sophia_jax.sharding import Partition

__all__ = [
    "Lane",
    "decode_program",
    "encode_program",
    "prefill_program",
]

PAGE, BUCKET = 64, 32  # tokens, as the engine's own
PROMPTS_TOGETHER = 16  # pieces of prompts in the engine's largest program


@dataclass(frozen=True)
class Lane:
    """A model on its chips, and what it decodes.

    Attributes:
      config: the model's.
      devices: of one host.
      slots: sequences that are decoded together.
      prompt: tokens of a prompt, with its pictures.
      answer: tokens of the longest answer.
      usual: tokens of a usual one.
      samples: of each prompt, which read it together.
      has_images: whether prompts show pictures.
    """

    config: ModelConfig
    devices: Sequence[jax.Device]
    slots: int
    prompt: int
    answer: int
    usual: int
    samples: int
    has_images: bool

    @functools.cached_property
    def partition(self) -> Partition:
        return decoding_partition(self.config, self.devices, len(self.devices))

    @functools.cached_property
    def params(self) -> dict:
        """Weights in bfloat16, where the rules put them."""
        return abstract_weights(self.config, self.partition)

    @property
    def layout(self) -> Layout:
        """The engine's, with room for a usual answer in every slot, or for the longest.

        Samples of a prompt share its pages; each has its own for its answer. Where
        longer ones meet, the engine puts some of them back until there is room.
        """
        text = self.config.text
        size = page_bytes(text, jnp.bfloat16, PAGE)
        prompts = -(-self.slots // self.samples) * -(-self.prompt // PAGE)
        own = self.slots * (-(-self.usual // PAGE) + 2)
        fewest = self.slots + -(-text.max_length // PAGE) + 2
        room = max(fewest, int((prompts + own + self.slots) / (1 - GATHERED)) + 1)
        return make_layout(
            text,
            jnp.bfloat16,
            slots=self.slots,
            page=PAGE,
            chunk=CHUNK,
            bucket=BUCKET,
            few_programs=False,
            cache_bytes=room * size,
            available_bytes=None,
        )

    def abstract(self, tree: object, *logical: str | None) -> object:
        """The shapes of arrays, laid out along logical axes; without, on each chip."""
        place = self.partition.sharding(*logical)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            tree,
        )

    def cache(self, make: Callable[[], object]) -> object:
        """The shapes of pages or rows, which lie where their heads do."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape,
                leaf.dtype,
                sharding=cache_sharding(self.partition, leaf.ndim),
            ),
            jax.eval_shape(make),
        )


def encode_program(config: ModelConfig, partition: Partition, tiles: int) -> Program:
    """Encode so many tiles at a time, on all chips of a host."""
    size, channels = config.vision.image_size, config.vision.num_channels
    pixels = jax.ShapeDtypeStruct(
        (tiles, size, size, channels), jnp.float32, sharding=partition.sharding("tile")
    )
    params = abstract_weights(config, partition)
    decoder = shard_bytes(params["decoder"])
    params = {part: params[part] for part in ("vision", "projector")}
    return Program(
        lambda: _run_tower.lower(tower_graph(config, partition), params, pixels),
        {"weights": shard_bytes(params) + decoder, "inputs": shard_bytes(pixels)},
        beside=decoder,
        working=_tower_working(config, tiles / partition.ways("tile")),
    )


def prefill_program(lane: Lane, pieces: int) -> Program:
    """Read so many pieces of prompts, behind what was read of them before."""
    batch, pages = _prompts(lane, pieces), _pages(lane)
    tokens = pieces * lane.layout.piece
    return Program(
        lambda: fill_prompts.lower(
            model_graph(lane.config, lane.partition), lane.params, batch, pages
        ),
        {
            "weights": shard_bytes(lane.params),
            "cache": shard_bytes(pages),
            "inputs": shard_bytes(batch),
        },
        beside=_tower_bytes(lane),
        working=layer_bytes(lane.config.text, tokens, tensor=len(lane.devices)),
    )


def decode_program(lane: Lane, sampling: SamplingConfig) -> Program:
    """Draw a chunk of tokens in every slot, all sequences at their longest."""
    layout, text = lane.layout, lane.config.text
    pages = _pages(lane)
    open_pages = lane.cache(
        lambda: Rows.empty(text, lane.slots, layout.page, jnp.bfloat16, stacked=True)
    )
    chains = tuple(_chains(lane, layout, parts) for parts in _longest(lane))
    slots = lane.abstract(_slots(lane.slots))
    banned = lane.config.image_token_id
    return Program(
        lambda: decode_chunk.lower(
            model_graph(lane.config, lane.partition),
            lane.params,
            pages,
            slots,
            chains,
            lane.abstract(jax.ShapeDtypeStruct((), jnp.int32)),
            layers=None,
            open_pages=open_pages,
            num_steps=layout.chunk,
            sampling=sampling,
            end_ids=(0,),
            banned_ids=() if banned is None else (banned,),
        ),
        {
            "weights": shard_bytes(lane.params),
            "cache": shard_bytes((pages, open_pages, [each.first for each in chains])),
            "inputs": shard_bytes(slots),
        },
        beside=_tower_bytes(lane),
        working=lane.slots * text.embedding_rows * WIDE * LOGITS_READ,
    )


def _tower_working(config: ModelConfig, tiles: float) -> int:
    """What one layer of the tower leaves in memory."""
    vision = config.vision
    numbers = 6 * vision.hidden_size + 2 * vision.mlp_size
    return round(tiles * (vision.patches_per_side**2 + 1) * numbers * BYTES)


def _tower_bytes(lane: Lane) -> int:
    """Of the parts that only the encoding of pictures needs."""
    parts = {name: part for name, part in lane.params.items() if name != "decoder"}
    return shard_bytes(parts)


def _prompts(lane: Lane, pieces: int) -> PromptBatch:
    layout, embed = lane.layout, lane.config.text.hidden_size
    shape = (pieces, layout.piece)

    def numbers(*shape: int, dtype: jnp.dtype = jnp.int32) -> jax.ShapeDtypeStruct:
        return lane.abstract(jax.ShapeDtypeStruct(shape, dtype))

    image_embeds = is_image = None
    if lane.has_images:
        image_embeds = numbers(*shape, embed, dtype=jnp.bfloat16)
        is_image = numbers(*shape, dtype=bool)
    return PromptBatch(
        token_ids=numbers(*shape),
        length=numbers(pieces),
        image_embeds=image_embeds,
        is_image=is_image,
        context=numbers(pieces, layout.most_parts),
        num_parts=numbers(pieces),
        filled=numbers(pieces, layout.piece // layout.page),
    )


def _pages(lane: Lane) -> Pages:
    layout = lane.layout
    return lane.cache(
        lambda: Pages.empty(
            lane.config.text, layout.num_pages, layout.page, jnp.bfloat16
        )
    )


def _slots(number: int) -> Slots:
    names = ("latest", "position", "index", "limit", "sample", "start")
    arrays = {name: jax.ShapeDtypeStruct((number,), jnp.int32) for name in names}
    return Slots(
        **arrays,
        running=jax.ShapeDtypeStruct((number,), bool),
        seeds=jax.ShapeDtypeStruct((number, 2), jnp.uint32),
    )


def _longest(lane: Lane) -> list[dict[int, list[Part]]]:
    """What each slot reads at the end of the longest answers: prompt, own pages."""
    prompt_pages, own_pages = -(-lane.prompt // PAGE), -(-lane.answer // PAGE)
    prompts = {
        slot: [
            Part(slot // lane.samples * prompt_pages + part, 0, PAGE)
            for part in range(prompt_pages)
        ]
        for slot in range(lane.slots)
    }
    own = {
        slot: [Part(slot * own_pages + part, 0, PAGE) for part in range(own_pages)]
        for slot in range(lane.slots)
    }
    return [prompts, own]


def _chains(lane: Lane, layout: Layout, parts: dict[int, list[Part]]) -> object:
    """One of the engine's tables, in the shape that it would choose."""
    rows = rows_of(parts)
    shape = chain_shape(
        rows,
        num_slots=lane.slots,
        most_gathered=layout.gathered // 2,
        known=(),
        spare=layout.spare,
    )
    table = make_chains(rows, shape, num_slots=lane.slots, most_parts=layout.most_parts)
    chains = lane.abstract(table.chains)
    if not table.gathered:
        return chains
    length = table.gathered * layout.page
    first = lane.cache(
        lambda: Rows.empty(
            lane.config.text, len(chains.page), length, jnp.bfloat16, stacked=True
        )
    )
    return chains.replace(first=first)
