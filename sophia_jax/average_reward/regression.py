"""Ridge regression, one row at a time, in blocks that do not share their weights.

    Lambda = ridge I + sum_i psi_i psi_i^T,   theta = Lambda^-1 sum_i psi_i y_i

For any weights w, with L(w) = ridge ||w||^2 + sum_i (<psi_i, w> - y_i)^2,

    L(w) - min L = ||w - theta||^2_Lambda,

and with e the error of theta before a new row, that row

    moves theta by Lambda^-1 psi e, with the new Lambda,
    adds e^2 / (1 + ||psi||^2) to min L, in the norm of the old Lambda^-1.

So in-sample errors are kept as running sums. Where rows go on pointing the same way,
Lambda^-1 becomes so small there that float32 could not tell it from the rounding of its
other entries, and sums of rows so large that new ones are rounded away: then errors of
millions of steps would sum to less than 0. Weights and the triangular square root of
Lambda^-1, each updated with every row, keep their digits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.types import Array, Float

__all__ = ["absorb", "empty_root", "squared_norm", "squared_width"]

Root = Float[Array, "*block dim dim"]


def empty_root(dim: int, ridge: float, *blocks: int) -> Root:
    """S, upper triangular, of S S^T = Lambda^-1, before any row.

    Raises:
      ValueError: ridge <= 0, with which the first regressions would be singular.
    """
    if not ridge > 0 or not np.isfinite(ridge):
        rule = "> 0, or Lambda is singular before every direction was seen"
        raise ValueError(f"ridge: expected {rule}, got {ridge}")
    return jnp.broadcast_to(jnp.eye(dim) / np.sqrt(ridge), (*blocks, dim, dim))


def absorb(
    root: Float[Array, "dim dim"], row: Float[Array, " dim"]
) -> tuple[Float[Array, "dim dim"], Float[Array, " dim"], Float[Array, ""]]:
    """One more row, by Carlson's update of a triangular square root.

        h = S^T psi,   alpha_j = 1 + sum_{k <= j} h_k^2
        S_j <- S_j sqrt(alpha_{j-1} / alpha_j)
               - h_j / sqrt(alpha_{j-1} alpha_j) sum_{k < j} h_k S_k,   columns j

    Args:
      root: S, of one block.
      row: psi.

    Returns:
      S; Lambda^-1 psi with the new Lambda; and 1 + ||psi||^2, in the norm of the old
      Lambda^-1.

    Reference:
      Carlson, Fast triangular formulation of the square root filter, AIAA Journal 11,
      1973.
    """
    half = row @ root
    alpha = 1 + jnp.cumsum(half**2)
    before = jnp.concatenate([jnp.ones(1), alpha[:-1]])
    toward = jnp.cumsum(root * half[None, :], axis=1)
    earlier = jnp.pad(toward[:, :-1], ((0, 0), (1, 0)))
    kept, moved = jnp.sqrt(before / alpha), half / jnp.sqrt(before * alpha)
    new = root * kept[None, :] - earlier * moved[None, :]
    return new, toward[:, -1] / alpha[-1], alpha[-1]


def squared_width(
    root: Root, row: Float[Array, "*block dim"]
) -> Float[Array, "*block"]:
    """||psi||^2 in the norm of Lambda^-1: how little is known of a direction."""
    return (jnp.einsum("...de,...d->...e", root, row) ** 2).sum(-1)


def squared_norm(
    root: Root, weights: Float[Array, "*block dim"]
) -> Float[Array, "*block"]:
    """||w||^2 in the norm of Lambda."""
    half = jax.lax.linalg.triangular_solve(root, weights[..., None], left_side=True)
    return (half[..., 0] ** 2).sum(-1)
