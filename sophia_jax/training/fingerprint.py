"""Fingerprints of weights, made where the weights are."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.types import Array

__all__ = ["fingerprint"]

SEEDS = (0x9E3779B1, 0xC2B2AE3D)  # of two sums, whose chances are apart


def fingerprint(tree: dict) -> str:
    """A digest of a tree of arrays: of their paths, shapes, dtypes and every bit.

    Each array is summed up where it lies, in integers that wrap around; so the digest
    is the same on any mesh, and takes no copy. It tells chance and damage, not malice.

    Args:
      tree: of arrays of 8, 16 or 32 bits an element.

    Returns:
      32 hexadecimal digits.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    sums = jax.device_get(_sums([leaf for _, leaf in leaves]))
    digest = hashlib.sha256()
    for (path, leaf), total in zip(leaves, sums, strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        digest.update(f"{name} {leaf.dtype}{list(leaf.shape)} ".encode())
        digest.update(np.asarray(total, "<u4").tobytes())
    return digest.hexdigest()[:32]


@jax.jit
def _sums(leaves: list[Array]) -> list[tuple[Array, ...]]:
    # Scalars, since these are on every device, of whatever process.
    return [tuple(_sum(leaf, seed) for seed in SEEDS) for leaf in leaves]


def _sum(leaf: Array, seed: int) -> Array:
    """Σ mix(bits, place) over an array, modulo 2^32."""
    if leaf.dtype == bool:
        leaf = leaf.astype(jnp.uint8)
    unsigned = jnp.dtype(f"uint{8 * leaf.dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)
    place = jnp.full(leaf.shape, seed, jnp.uint32)
    for axis in range(leaf.ndim):
        place = _mix(place) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    return jnp.sum(_mix(bits ^ _mix(place)), dtype=jnp.uint32)


def _mix(bits: Array) -> Array:
    """Each bit spread over all 32; no two words become one.

    Reference: the last steps of MurmurHash3, https://github.com/aappleby/smhasher.
    """
    bits = (bits ^ (bits >> 16)) * np.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * np.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)
