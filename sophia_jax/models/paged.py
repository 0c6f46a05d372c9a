"""Keys and values in pages that many sequences read, and the attention over them."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from sophia_jax.config import TextConfig
from sophia_jax.models.layers import UNSEEN, merge_attention, partial_attention
from sophia_jax.types import Array, Float, Int

__all__ = ["Chains", "OpenPages", "Pages", "Readers", "chain_attention", "read_pages"]


@chex.dataclass(frozen=True)
class Pages:
    """Keys and values of all layers, in pages of equally many tokens.

    Keys stand with their tokens last, as the product with the queries wants them.

    Attributes:
      key: Float[layer page kv_heads head_dim token]
      value: Float[layer page kv_heads token head_dim]
    """

    key: Array
    value: Array

    @classmethod
    def empty(
        cls, config: TextConfig, num_pages: int, page: int, dtype: jnp.dtype
    ) -> Pages:
        """Zeros, for `num_pages` pages of `page` tokens."""
        shape = (config.num_layers, num_pages, config.num_kv_heads)
        return cls(
            key=jnp.zeros((*shape, config.head_dim, page), dtype),
            value=jnp.zeros((*shape, page, config.head_dim), dtype),
        )

    def filled(self, numbers: Int[Array, " new_page"], new: Pages) -> Pages:
        """These pages with new content; a number out of range fills none."""
        return Pages(
            key=self.key.at[:, numbers].set(new.key, mode="drop"),
            value=self.value.at[:, numbers].set(new.value, mode="drop"),
        )


@chex.dataclass(frozen=True)
class OpenPages:
    """One page for each slot, in which all slots write at the same place.

    Each layer's stand by themselves where the layers run one by one: then nothing is
    copied out of a stack.

    Attributes:
      key: Float[slot kv_heads head_dim token] of each layer, or with a leading layer.
      value: Float[slot kv_heads token head_dim] likewise.
    """

    key: Array | tuple[Array, ...]
    value: Array | tuple[Array, ...]

    @classmethod
    def empty(
        cls,
        config: TextConfig,
        slots: int,
        page: int,
        dtype: jnp.dtype,
        *,
        stacked: bool,
    ) -> OpenPages:
        """Zeros, for `slots` pages of `page` tokens."""
        num, layers = config.num_kv_heads, range(config.num_layers)
        shapes = (
            (slots, num, config.head_dim, page),
            (slots, num, page, config.head_dim),
        )
        if stacked:
            key, value = (jnp.zeros((len(layers), *shape), dtype) for shape in shapes)
        else:
            key, value = (
                tuple(jnp.zeros(shape, dtype) for _ in layers) for shape in shapes
            )
        return cls(key=key, value=value)

    def put(
        self,
        layer: int | Array,
        place: Array,
        key: Float[Array, "slot kv_heads head_dim"],
        value: Float[Array, "slot kv_heads head_dim"],
    ) -> OpenPages:
        """A layer's newest keys and values, at one place of every page."""
        key, value = key[:, :, :, None], value[:, :, None]
        if isinstance(self.key, tuple):
            keys, values = list(self.key), list(self.value)
            keys[layer] = jax.lax.dynamic_update_slice(
                keys[layer], key, (0, 0, 0, place)
            )
            values[layer] = jax.lax.dynamic_update_slice(
                values[layer], value, (0, 0, place, 0)
            )
            return OpenPages(key=tuple(keys), value=tuple(values))
        return OpenPages(
            key=jax.lax.dynamic_update_slice(
                self.key, key[None], (layer, 0, 0, 0, place)
            ),
            value=jax.lax.dynamic_update_slice(
                self.value, value[None], (layer, 0, 0, place, 0)
            ),
        )

    def read(
        self,
        layer: int | Array,
        query: Float[Array, "slot 1 heads head_dim"],
        start: Int[Array, " slot"],
        place: Array,
    ) -> tuple[Float[Array, "slot 1 heads head_dim"], Float[Array, "slot 1 heads"]]:
        """Attention over each slot's own places, from `start` to `place`."""
        key, value = self.key[layer], self.value[layer]
        token = jnp.arange(value.shape[2])[None]
        counts = (token >= start[:, None]) & (token <= place)
        return partial_attention(query, key, value, counts[:, None])

    def stacked(self) -> Pages:
        """All layers together."""
        if isinstance(self.key, tuple):
            return Pages(key=jnp.stack(self.key), value=jnp.stack(self.value))
        return Pages(key=self.key, value=self.value)

    def of_slots(self, slots: Int[Array, " kept"]) -> OpenPages:
        """Those of some slots, in their order."""
        axis = 0 if isinstance(self.key, tuple) else 1
        return jax.tree.map(lambda pages: jnp.take(pages, slots, axis), self)


@chex.dataclass(frozen=True)
class Chains:
    """Pages in a row, and the queries that read them together.

    Rows are read some at a time, as many as there are for each of `num_parts`. The
    longest come first, so that few parts are read in vain.

    Attributes:
      page: Int32[row part], numbers of pages.
      start: Int32[row part], the first token of the page that counts.
      end: Int32[row part], the one after the last; 0 where a chain has ended.
      reader: Int32[row reader], numbers of the queries; any where there is none.
      num_parts: Int32[rows_at_once], parts of the longest chain among some rows; 0
        where these and all that follow are empty.
    """

    page: Array
    start: Array
    end: Array
    reader: Array
    num_parts: Array


@chex.dataclass(frozen=True)
class Readers:
    """What each query attends to: a chain that it shares, and one of its own.

    Attributes:
      shared: chains with several readers each.
      own: chains with one reader each.
      shared_place: Int32[query], row * readers + reader in `shared`; -1 for none.
      own_place: Int32[query], row in `own`; -1 for none.
    """

    shared: Chains
    own: Chains
    shared_place: Array
    own_place: Array


def read_pages(
    query: Float[Array, "query heads head_dim"],
    pages: Pages,
    layer: int | Array,
    readers: Readers,
) -> list[tuple[Float[Array, "query 1 heads head_dim"], Float[Array, "query 1 heads"]]]:
    """Each query's attention over its two chains, as parts of one attention.

    A shared page is read once for all of its readers, and nothing is copied to them.

    Args:
      query: one token of each sequence.
      pages: of all layers.
      layer: whose pages are read.
      readers: who reads what.

    Returns:
      Two parts for `merge_attention`.
    """
    return [
        _of_each(place, *chain_attention(query, pages, layer, chains))
        for chains, place in (
            (readers.shared, readers.shared_place),
            (readers.own, readers.own_place),
        )
    ]


def chain_attention(
    query: Float[Array, "query heads head_dim"],
    pages: Pages,
    layer: int | Array,
    chains: Chains,
) -> tuple[Float[Array, "row reader heads head_dim"], Float[Array, "row reader heads"]]:
    """Attention of each chain's readers over the chain's pages.

    The pages are read one part at a time and merged as they come, so that neither the
    longest chain nor the number of rows that might be needed costs anything.

    Args:
      query: one token of each sequence.
      pages: of all layers.
      layer: whose pages are read.
      chains: what is read by whom.

    Returns:
      Attention and its weight, as of `partial_attention`; next to no weight in rows
      that do not count.
    """
    heads, head_dim = query.shape[1:]
    row, reader = chains.reader.shape
    rows = row // len(chains.num_parts)

    def some_rows(number: Array, result: tuple) -> tuple:
        def rows_of(array: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(array, number * rows, rows)

        page, start, end = map(rows_of, (chains.page, chains.start, chains.end))
        queries = query[rows_of(chains.reader)]

        def one_part(part: Array, merged: tuple) -> tuple:
            token = jnp.arange(pages.value.shape[3])[None]
            counts = (token >= start[:, part, None]) & (token < end[:, part, None])
            read = partial_attention(
                queries,
                pages.key[layer, page[:, part]],
                pages.value[layer, page[:, part]],
                counts[:, None],
            )
            return merge_attention([merged, read])

        merged = jax.lax.fori_loop(
            0,
            chains.num_parts[number],
            one_part,
            (
                jnp.zeros((rows, reader, heads, head_dim), query.dtype),
                jnp.full((rows, reader, heads), UNSEEN, jnp.float32),
            ),
        )
        return jax.tree.map(
            lambda whole, some: jax.lax.dynamic_update_slice_in_dim(
                whole, some, number * rows, axis=0
            ),
            result,
            merged,
        )

    return jax.lax.fori_loop(
        0,
        jnp.sum(chains.num_parts > 0),
        some_rows,
        (
            jnp.zeros((row, reader, heads, head_dim), query.dtype),
            jnp.full((row, reader, heads), UNSEEN, jnp.float32),
        ),
    )


def _of_each(place: Array, out: Array, log_weight: Array) -> tuple[Array, Array]:
    """From [row reader] to the queries that read there; no weight where none did."""
    out = out.reshape(-1, *out.shape[2:])[place]
    log_weight = log_weight.reshape(-1, log_weight.shape[2])[place]
    log_weight = jnp.where(place[:, None] < 0, UNSEEN, log_weight)
    return out[:, None], log_weight[:, None]
