"""Rotary position embedding, also beyond the length that a model was trained at."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from sophia_jax.config import RopeScaling
from sophia_jax.types import Array, Float, Int, typed

__all__ = ["rotary", "rotate"]


@typed
def rotary(
    positions: Int[Array, "*token"],
    head_dim: int,
    *,
    theta: float,
    scaling: RopeScaling | None = None,
    lengths: Int[Array, "*token"] | None = None,
) -> Float[Array, "2 *token half"]:
    """Cosines and sines of the angles of the rotary position embedding.

        m cos aᵢ, m sin aᵢ,  aᵢ = p fᵢ,  fᵢ = θ^(-2i/d),  i = 0 .. d/2 - 1

    Scaling changes f, and YaRN the magnitude m = 1:

        linear   fᵢ / s
        dynamic  fᵢ of the base θ (s L/L₀ - s + 1)^(d/(d-2)),  L = max(length, L₀)
        yarn     γᵢ fᵢ + (1 - γᵢ) fᵢ / s,  m = 0.1 ln s + 1; γ falls from 1 to 0 between
                 the dimensions that turn β_fast and β_slow times in L₀ tokens

    Args:
      positions: p, of each token in its own sequence, from 0.
      head_dim: d.
      theta: θ, the base wavelength.
      scaling: s and L₀; None for none.
      lengths: how many tokens the sequence has, for dynamic scaling; None for as many
        as there are up to each token, which is what decoding one by one sees.

    Returns:
      Float32.

    Reference:
      Su et al., 2021, "RoFormer", https://arxiv.org/abs/2104.09864; Peng et al., 2023,
      "YaRN", https://arxiv.org/abs/2309.00071, section 3; Chen et al., 2023, "Extending
      context window by positional interpolation", https://arxiv.org/abs/2306.15595.
    """
    exponents = -jnp.arange(head_dim // 2, dtype=jnp.float32) / (head_dim // 2)
    magnitude = 1.0
    if scaling is None:
        frequencies = theta**exponents
    elif scaling.kind == "linear":
        frequencies = theta**exponents / scaling.factor
    elif scaling.kind == "dynamic":
        lengths = positions + 1 if lengths is None else lengths
        base = _dynamic_base(lengths, head_dim, theta, scaling)
        frequencies = base[..., None] ** jnp.expand_dims(exponents, range(base.ndim))
    else:
        share = jnp.asarray(_unscaled_share(head_dim, theta, scaling))
        frequencies = theta**exponents * (share + (1 - share) / scaling.factor)
        magnitude = scaling.attention_factor or 0.1 * math.log(scaling.factor) + 1
    if frequencies.ndim == 1:
        frequencies = jnp.expand_dims(frequencies, range(positions.ndim))
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return magnitude * jnp.stack([jnp.cos(angles), jnp.sin(angles)])


def _dynamic_base(
    lengths: Array, head_dim: int, theta: float, scaling: RopeScaling
) -> Array:
    """The base that stretches the longest wavelength with the sequence (NTK-aware)."""
    factor, original = scaling.factor, scaling.original_length
    excess = jnp.maximum(lengths - original, 0).astype(jnp.float32)
    growth = 1 + factor * excess / original
    return theta * growth ** (head_dim / (head_dim - 2))


def _unscaled_share(head_dim: int, theta: float, scaling: RopeScaling) -> np.ndarray:
    """γ of YaRN, for each pair of dimensions."""

    def dimension(turns: float) -> float:
        """That which turns so often within the original length."""
        wavelength = scaling.original_length / (2 * math.pi * turns)
        return head_dim * math.log(wavelength) / (2 * math.log(theta))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low or 0.001
    ramp = (np.arange(head_dim // 2, dtype=np.float32) - low) / width
    return 1 - np.clip(ramp, 0, 1)


@typed
def rotate(
    x: Float[Array, "batch token heads head_dim"],
    turns: Float[Array, "2 batch token half"],
) -> Float[Array, "batch token heads head_dim"]:
    """Rotary position embedding in the rotate-half form.

        [x₁, x₂] -> [x₁ cos a - x₂ sin a, x₂ cos a + x₁ sin a]

    Args:
      x: queries or keys.
      turns: cos a and sin a, of `rotary`.

    Returns:
      The rotated x, in its dtype.
    """
    cos, sin = turns[:, :, :, None].astype(x.dtype)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )
