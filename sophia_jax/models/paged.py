"""Keys and values in pages that many sequences read, and the attention over them."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

from sophia_jax.config import TextConfig
from sophia_jax.models.layers import UNSEEN, merge_attention, partial_attention
from sophia_jax.sharding import Partition
from sophia_jax.types import Array, Bool, Float, Int

__all__ = ["Chains", "Pages", "Rows", "cache_sharding", "chain_attention"]


def cache_sharding(partition: Partition, num_axes: int) -> jax.sharding.NamedSharding:
    """Where keys or values [... kv_heads, two more axes] lie."""
    return partition.sharding(*[None] * (num_axes - 3), "kv_heads", None, None)


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

    def filled(self, numbers: Int[Array, " new_page"], new: Pages | Rows) -> Pages:
        """These pages with new content; a number out of range fills none."""
        key, value = self.key, self.value
        # Layer by layer: XLA on CPU takes five times as long for all of them at once.
        for layer in range(len(key)):
            key = key.at[layer, numbers].set(new.key[layer], mode="drop")
            value = value.at[layer, numbers].set(new.value[layer], mode="drop")
        return Pages(key=key, value=value)

    def gathered(self, numbers: Int[Array, "row part"], *, stacked: bool) -> Rows:
        """Some pages as rows, those of a row one behind the other."""

        def of_layer(layer: int) -> tuple[Array, Array]:
            keys = jnp.moveaxis(self.key[layer, numbers], 1, 3)
            values = jnp.moveaxis(self.value[layer, numbers], 1, 2)
            return (
                keys.reshape(*keys.shape[:3], -1),
                values.reshape(*values.shape[:2], -1, values.shape[-1]),
            )

        key, value = zip(*map(of_layer, range(len(self.key))), strict=True)
        if stacked:
            return Rows(key=jnp.stack(key), value=jnp.stack(value))
        return Rows(key=key, value=value)


@chex.dataclass(frozen=True)
class Rows:
    """Keys and values of some sequences, as many tokens of each, side by side.

    Each layer's stand by themselves where the layers run one by one: then nothing is
    copied out of a stack.

    Attributes:
      key: Float[row kv_heads head_dim token] of each layer, or with a leading layer.
      value: Float[row kv_heads token head_dim] likewise.
    """

    key: Array | tuple[Array, ...]
    value: Array | tuple[Array, ...]

    @classmethod
    def empty(
        cls,
        config: TextConfig,
        num_rows: int,
        length: int,
        dtype: jnp.dtype,
        *,
        stacked: bool,
    ) -> Rows:
        """Zeros, for `num_rows` rows of `length` tokens."""
        num, layers = config.num_kv_heads, range(config.num_layers)
        shapes = (
            (num_rows, num, config.head_dim, length),
            (num_rows, num, length, config.head_dim),
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
        key: Float[Array, "row kv_heads head_dim"],
        value: Float[Array, "row kv_heads head_dim"],
    ) -> Rows:
        """A layer's newest keys and values, at one place of every row."""
        key, value = key[:, :, :, None], value[:, :, None]
        if isinstance(self.key, tuple):
            keys, values = list(self.key), list(self.value)
            keys[layer] = jax.lax.dynamic_update_slice(
                keys[layer], key, (0, 0, 0, place)
            )
            values[layer] = jax.lax.dynamic_update_slice(
                values[layer], value, (0, 0, place, 0)
            )
            return Rows(key=tuple(keys), value=tuple(values))
        return Rows(
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
        query: Float[Array, "row reader heads head_dim"],
        counts: Bool[Array, "row token"],
    ) -> tuple[
        Float[Array, "row reader heads head_dim"], Float[Array, "row reader heads"]
    ]:
        """Attention of each row's readers over those of its tokens that count."""
        return partial_attention(
            query, self.key[layer], self.value[layer], counts[:, None]
        )

    def kept(self, numbers: Int[Array, " kept"]) -> Rows:
        """Some of the rows, in their order."""
        axis = 0 if isinstance(self.key, tuple) else 1
        return jax.tree.map(lambda rows: jnp.take(rows, numbers, axis), self)


@chex.dataclass(frozen=True)
class Chains:
    """Pages one behind the other, and the queries that read them together.

    The longest chains come first, so that few pages are read in vain.

    Attributes:
      page: Int32[row part], numbers of pages.
      start: Int32[row part], the first token of the page that counts.
      end: Int32[row part], the one after the last; 0 where a chain has ended.
      reader: Int32[row reader], numbers of the queries; any where there is none.
      place: Int32[query], row * readers + reader of each query; -1 for none.
      num_parts: Int32[rows_at_once], parts of the longest chain among some rows; 0
        where these and all that follow are empty.
      first: what of them stands side by side; None for nothing.
    """

    page: Array
    start: Array
    end: Array
    reader: Array
    place: Array
    num_parts: Array
    first: Rows | None = None


def chain_attention(
    query: Float[Array, "query heads head_dim"],
    pages: Pages,
    layer: int | Array,
    chains: Chains,
) -> tuple[Float[Array, "query 1 heads head_dim"], Float[Array, "query 1 heads"]]:
    """Each query's attention over its chain.

    A page is read once for all of its readers, and nothing is copied to them. What
    stands side by side is read where it stands; the parts behind are read one at a
    time and merged as they come, so that one long chain costs the others nothing.

    Args:
      query: one token of each sequence.
      pages: of all layers.
      layer: whose pages are read.
      chains: what is read by whom.

    Returns:
      Attention and its weight, as of `partial_attention`; next to no weight for a
      query without a chain.
    """
    queries = query[chains.reader]
    page = pages.value.shape[3]
    num_first, merged = 0, _nothing_read(queries)
    if chains.first is not None:
        num_first = chains.first.value[0].shape[-2] // page
        bounds = (each[:, :num_first] for each in (chains.start, chains.end))
        counts = _counts(*bounds, page).reshape(len(queries), -1)
        merged = chains.first.read(layer, queries, counts)
    rows = len(queries) // len(chains.num_parts)

    def some_rows(number: Array, merged: tuple) -> tuple:
        def rows_of(array: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(array, number * rows, rows)

        number_of, start, end = map(rows_of, (chains.page, chains.start, chains.end))
        some_queries = rows_of(queries)

        def one_part(part: Array, merged: tuple) -> tuple:
            read = partial_attention(
                some_queries,
                pages.key[layer, number_of[:, part]],
                pages.value[layer, number_of[:, part]],
                _counts(start[:, part], end[:, part], page)[:, None],
            )
            return merge_attention([merged, read])

        some = jax.lax.fori_loop(
            num_first,
            chains.num_parts[number],
            one_part,
            jax.tree.map(rows_of, merged),
        )
        return jax.tree.map(
            lambda whole, some: jax.lax.dynamic_update_slice_in_dim(
                whole, some, number * rows, axis=0
            ),
            merged,
            some,
        )

    if num_first < chains.page.shape[1]:
        num_loops = jnp.sum(chains.num_parts > num_first)
        merged = jax.lax.fori_loop(0, num_loops, some_rows, merged)
    return _of_each(chains.place, *merged)


def _counts(start: Array, end: Array, page: int) -> Bool[Array, "... token"]:
    """Which tokens of a page count."""
    token = jax.lax.broadcasted_iota(jnp.int32, (*start.shape, page), start.ndim)
    return (token >= start[..., None]) & (token < end[..., None])


def _nothing_read(queries: Array) -> tuple[Array, Array]:
    """As of `partial_attention`, with next to no weight."""
    weight = jnp.full(queries.shape[:-1], UNSEEN, jnp.float32)
    return jnp.zeros_like(queries), weight


def _of_each(place: Array, out: Array, log_weight: Array) -> tuple[Array, Array]:
    """From [row reader] to the queries that read there; no weight where none did."""
    out = out.reshape(-1, *out.shape[2:])[place]
    log_weight = log_weight.reshape(-1, log_weight.shape[2])[place]
    log_weight = jnp.where(place[:, None] < 0, UNSEEN, log_weight)
    return out[:, None], log_weight[:, None]
