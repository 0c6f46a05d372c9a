"""Attention on a mesh: each device's own rows, heads and queries."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sophia_jax.sharding import Partition
from sophia_jax.types import Array

__all__ = ["Shares"]

# (kernel, query, key, value, ids of queries, ids of keys, place of the first query)
Attend = Callable[[Any, Array, Array, Array, Array, Array, Array | int], Array]


@dataclass(frozen=True)
class Shares:
    """Along which axes of a mesh rows, tokens and heads lie.

    Attributes:
      mesh: None for one device.
      rows, tokens, heads: axes of the mesh, in the form of a PartitionSpec's.
      kv_heads_divide: whether the heads of keys lie along the axes of the heads; else
        each device has all of them.
    """

    mesh: Mesh | None = None
    rows: Any = None
    tokens: Any = None
    heads: Any = None
    kv_heads_divide: bool = True

    @classmethod
    def of_rows(cls, partition: Partition | None, query: Array, key: Array) -> Shares:
        """Of packed rows. Raises InputError where they do not divide."""
        if partition is None or partition.mesh.size == 1:
            return cls()
        batch, token, heads, _ = query.shape
        partition.check(
            {
                "batch": [("rows", batch)],
                "token": [("tokens of a row", token)],
                "heads": [("num_heads", heads)],
            }
        )
        axes = partition.spec("batch", "token", "heads")
        divide = key.shape[2] % _ways(partition.mesh, axes[2]) == 0
        return cls(partition.mesh, *axes, kv_heads_divide=divide)

    @classmethod
    def of_tiles(cls, partition: Partition | None, query: Array) -> Shares:
        """Of pictures. Heads that do not divide, as the 25 of InternViT-6B, are
        computed on every device."""
        if partition is None or partition.mesh.size == 1:
            return cls()
        tile, _, heads, _ = query.shape
        partition.check({"tile": [("tiles", tile)]})
        rows, along = partition.spec("tile", "heads")
        divide = heads % _ways(partition.mesh, along) == 0
        return cls(partition.mesh, rows, None, along if divide else None)

    @property
    def num_tokens(self) -> int:
        """Shares of a row's queries."""
        return 1 if self.mesh is None else _ways(self.mesh, self.tokens)

    @property
    def num_scores(self) -> int:
        """Shares of the scores of one head."""
        if self.mesh is None:
            return 1
        return _ways(self.mesh, self.rows) * self.num_tokens

    def attend(
        self,
        attend: Attend,
        kernel: Any,
        query: Array,
        key: Array,
        value: Array,
        segment_ids: Array,
        *,
        padding: int = 0,
    ) -> Array:
        """Attention of each share, put together.

        Args:
          attend: of one device's queries to all of their rows' keys.
          kernel: what `attend` takes first: None, or a kernel whose mask is cut along
            the queries.
          query, key, value: [batch token heads head_dim].
          segment_ids: [batch token].
          padding: tokens of padding that each share gets at its end.
        """

        share = functools.partial(self._share, attend, padding)
        if self.mesh is None:
            return share(query, key, value, segment_ids, kernel)
        rows = PartitionSpec(self.rows, self.tokens)
        queries = PartitionSpec(*rows, self.heads)
        keys = queries if self.kv_heads_divide else rows
        return jax.shard_map(
            share,
            mesh=self.mesh,
            in_specs=(queries, keys, keys, rows, self._cut(kernel)),
            out_specs=queries,
            check_vma=False,  # the Pallas kernels do not say along what they vary
        )(query, key, value, segment_ids, kernel)

    def _share(
        self,
        attend: Attend,
        padding: int,
        query: Array,
        key: Array,
        value: Array,
        ids: Array,
        kernel: Any,
    ) -> Array:
        """One device's attention: of its queries to all keys of their rows."""
        token, heads = query.shape[1:3]
        key, value = self._own_heads(key, heads), self._own_heads(value, heads)
        query, key, value, ids = (_padded(x, padding) for x in (query, key, value, ids))
        keys, values, context_ids = map(self._gathered, (key, value, ids))
        first_query = 0
        if self.tokens is not None:
            first_query = jax.lax.axis_index(self.tokens) * query.shape[1]
        out = attend(kernel, query, keys, values, ids, context_ids, first_query)
        return out[:, :token]

    def _gathered(self, x: Array) -> Array:
        """The tokens of all shares, in their order."""
        if self.tokens is None:
            return x
        return jax.lax.all_gather(x, self.tokens, axis=1, tiled=True)

    def _cut(self, kernel: Any) -> Any:
        """Where the parts of a kernel's mask go."""
        if kernel is None:
            return None
        along = NamedSharding(self.mesh, PartitionSpec(None, self.tokens))
        return kernel.manual_sharding_spec(along)

    def _own_heads(self, x: Array, heads: int) -> Array:
        """Of all heads of keys, those that this device's queries read."""
        if self.kv_heads_divide:
            return x
        each = heads * _ways(self.mesh, self.heads) // x.shape[2]
        first = jax.lax.axis_index(self.heads) * heads
        if each % heads == 0:  # one of them serves all
            return jax.lax.dynamic_slice_in_dim(x, first // each, 1, axis=2)
        return jnp.take(x, (first + jnp.arange(heads)) // each, axis=2)


def _padded(x: Array, padding: int) -> Array:
    return jnp.pad(x, ((0, 0), (0, padding)) + ((0, 0),) * (x.ndim - 2))


def _ways(mesh: Mesh, axes: Any) -> int:
    """Into how many shares an axis is cut that lies along these of the mesh."""
    names = () if axes is None else (axes,) if isinstance(axes, str) else axes
    return math.prod(mesh.shape[name] for name in names)
