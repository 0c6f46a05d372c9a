"""Ridge regression, one row at a time, in blocks that do not share their weights.

    Lambda = ridge I + sum_i psi_i psi_i^T,   theta = Lambda^-1 sum_i psi_i y_i

For any weights w, with L(w) = ridge ||w||^2 + sum_i (<psi_i, w> - y_i)^2,

    L(w) - min L = ||w - theta||^2_Lambda,

and a new row adds e^2 / (1 + ||psi||^2) to min L, in the norm of Lambda^-1 before it,
with e the error of theta before it. So in-sample errors are kept as running sums.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.types import Array, Float, Int

__all__ = ["Design", "absorb", "empty_design", "refreshed", "squared_width", "weights"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["precision", "inverse"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Design:
    """Attributes:
    precision: Lambda of each block, Float[block dim dim].
    inverse: Lambda^-1, updated with each row and made anew by `refreshed`.
    """

    precision: Float[Array, "block dim dim"]
    inverse: Float[Array, "block dim dim"]


def empty_design(num_blocks: int, dim: int, ridge: float) -> Design:
    """No rows yet.

    Raises:
      ValueError: ridge <= 0, with which the first regressions would be singular.
    """
    if not ridge > 0 or not np.isfinite(ridge):
        rule = "> 0, or Lambda is singular before every direction was seen"
        raise ValueError(f"ridge: expected {rule}, got {ridge}")
    identity = jnp.broadcast_to(jnp.eye(dim), (num_blocks, dim, dim))
    return Design(ridge * identity, identity / ridge)


def weights(
    design: Design, moment: Float[Array, "block dim"]
) -> Float[Array, "block dim"]:
    """theta of each block, of sum_i psi_i y_i."""
    return jnp.einsum("bde,be->bd", design.inverse, moment)


def squared_width(
    design: Design, block: Int[Array, "*pair"], row: Float[Array, "*pair dim"]
) -> Float[Array, "*pair"]:
    """||psi||^2 in the norm of Lambda^-1: how little is known of a direction."""
    width = jnp.einsum("...d,...de,...e->...", row, design.inverse[block], row)
    return jnp.maximum(width, 0)


def absorb(
    design: Design,
    block: Int[Array, ""],
    row: Float[Array, " dim"],
    error: Float[Array, ""],
) -> tuple[Design, Float[Array, ""]]:
    """One more row, by the formula of Sherman and Morrison.

    Args:
      block: whose row it is.
      row: psi.
      error: y - <psi, theta>, before the row.

    Returns:
      The design, and by how much the row raised min L.
    """
    toward = design.inverse[block] @ row
    whole = 1 + jnp.maximum(row @ toward, 0)
    precision = design.precision.at[block].add(jnp.outer(row, row))
    inverse = design.inverse.at[block].add(-jnp.outer(toward, toward) / whole)
    return Design(precision, inverse), error**2 / whole


def refreshed(design: Design) -> Design:
    """The inverse made anew, without the rounding of many updates."""
    dim = design.precision.shape[-1]
    factor = jnp.linalg.cholesky(design.precision)
    identity = jnp.broadcast_to(jnp.eye(dim), design.precision.shape)
    half = jax.lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    return Design(design.precision, jnp.swapaxes(half, -1, -2) @ half)
