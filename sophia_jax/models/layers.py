"""The layers that the vision tower and the decoder share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from sophia_jax.types import Array, Bool, Float, typed

__all__ = [
    "LayerNorm",
    "RMSNorm",
    "attention",
    "gated_silu",
    "merge_attention",
    "partial_attention",
    "rms_norm",
    "stack_layers",
]

# Less than any product of a query and a key, and far enough from -inf to subtract.
UNSEEN = float(jnp.finfo(jnp.float32).min / 2)


@typed
def attention(
    query: Float[Array, "batch token heads head_dim"],
    key: Float[Array, "batch context kv_heads head_dim"],
    value: Float[Array, "batch context kv_heads head_dim"],
    mask: Bool[Array, "batch token context"] | None = None,
) -> Float[Array, "batch token heads head_dim"]:
    """Grouped-query attention.

        softmax(q k / √d) v

    Args:
      query, key, value: each key head serves heads / kv_heads query heads in a row.
      mask: True where a token may look; None lets it look everywhere.

    Returns:
      One vector per token and head.
    """
    return jax.nn.dot_product_attention(
        query, key, value, mask=None if mask is None else mask[:, None]
    )


@typed
def partial_attention(
    query: Float[Array, "batch token heads head_dim"],
    key: Float[Array, "batch kv_heads head_dim context"],
    value: Float[Array, "batch kv_heads context head_dim"],
    mask: Bool[Array, "batch token context"] | Bool[Array, "batch 1 context"],
) -> tuple[
    Float[Array, "batch token heads head_dim"], Float[Array, "batch token heads"]
]:
    """Attention over one part of the context, with the part's weight.

        out = Σ_s exp(q k_s / √d) v_s / exp(l),   l = log Σ_s exp(q k_s / √d)

    Args:
      query: of some tokens.
      key, value: of the part, laid out as the two products want them, so that no
        decoding step transposes a cache.
      mask: True where a token may look.

    Returns:
      The part's attention, and l (float32); a part that a token may not look at weighs
      next to nothing.
    """
    batch, token, heads, head_dim = query.shape
    kv_heads = key.shape[1]
    query = query.reshape(batch, token, kv_heads, -1, head_dim).swapaxes(1, 2)
    query = query.reshape(batch, kv_heads, -1, head_dim)
    logits = jnp.einsum(
        "bkqd,bkds->bkqs", query, key, preferred_element_type=jnp.float32
    )
    if mask.shape[1] > 1:
        mask = jnp.repeat(mask, heads // kv_heads, axis=1)
    logits = jnp.where(mask[:, None], logits * head_dim**-0.5, UNSEEN)
    largest = jnp.max(logits, axis=-1, keepdims=True)
    weights = jnp.exp(logits - largest)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    out = jnp.einsum("bkqs,bksd->bkqd", weights.astype(value.dtype), value)
    out = (out / total).astype(value.dtype)
    log_weight = (largest + jnp.log(total))[..., 0]

    def heads_last(x: Array) -> Array:
        x = x.reshape(batch, kv_heads, token, heads // kv_heads, *x.shape[3:])
        return x.swapaxes(1, 2).reshape(batch, token, heads, *x.shape[4:])

    return heads_last(out), heads_last(log_weight)


@typed
def merge_attention(
    parts: Sequence[
        tuple[
            Float[Array, "batch token heads head_dim"],
            Float[Array, "batch token heads"],
        ]
    ],
) -> tuple[
    Float[Array, "batch token heads head_dim"], Float[Array, "batch token heads"]
]:
    """Attention over a context from the attentions over its parts.

        out = Σᵢ outᵢ exp(lᵢ - l),  l = log Σᵢ exp(lᵢ)

    Args:
      parts: results of `partial_attention` for disjoint parts of one context.

    Returns:
      What `partial_attention` gives for the whole context.
    """
    largest = functools.reduce(jnp.maximum, [log_weight for _, log_weight in parts])
    weights = [jnp.exp(log_weight - largest) for _, log_weight in parts]
    total = sum(weights)
    out = sum(
        part * (weight / total)[..., None].astype(part.dtype)
        for (part, _), weight in zip(parts, weights, strict=True)
    )
    return out, largest + jnp.log(total)


@jax.custom_vjp
@typed
def gated_silu(
    gate: Float[Array, "*token mlp"], up: Float[Array, "*token mlp"]
) -> Float[Array, "*token mlp"]:
    """The activation of a gated MLP.

        h = g σ(g) u,   ∂h/∂g = u σ(g) (1 + g (1 - σ(g))),   ∂h/∂u = g σ(g)

    The backward pass keeps g and u alone. Its last operation is a division by
    1 + exp(-g), which XLA forms once; it would repeat a product within each use, and
    the one that reads it transposed, for the weights' gradient, took an eighth of an
    update on a CPU.

    Args:
      gate: g.
      up: u.

    Returns:
      h, in the inputs' dtype.

    Reference:
      Shazeer, 2020, "GLU variants improve transformer",
      https://arxiv.org/abs/2002.05202, eq. (6), SwiGLU.
    """
    return jax.nn.silu(gate) * up


def _gated_silu_backward(
    inputs: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    gate, up = inputs
    below = 1 + jnp.exp(-gate)
    into_gate = gradient * up * (1 + gate * (1 - 1 / below)) / below
    return into_gate, gradient * gate / below


gated_silu.defvjp(
    lambda gate, up: (gated_silu(gate, up), (gate, up)), _gated_silu_backward
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
@typed
def rms_norm(
    x: Float[Array, "*token embed"], scale: Float[Array, " embed"], epsilon: float
) -> Float[Array, "*token embed"]:
    """Root-mean-square normalisation.

        y = s x r,   r = 1 / √(mean x² + ε)
        ∂L/∂x = r s ∂L/∂y - x r³ mean(s p),   ∂L/∂s = Σ r p,   p = x ∂L/∂y

    Both sums of the backward pass are written as products of p with a vector. As sums
    of three factors, which is what autodiff gives, XLA computes them slowly on a CPU.

    Args:
      x: embeddings.
      scale: s.
      epsilon: ε, > 0.

    Returns:
      y, in the wider of the inputs' dtypes; computed in float32 or better.

    Reference:
      Zhang and Sennrich, 2019, "Root mean square layer normalization",
      https://arxiv.org/abs/1910.07467, eq. (4).
    """
    return _rms_norm(x, scale, epsilon)[0]


def _rms_norm(
    x: Array, scale: Array, epsilon: float
) -> tuple[Array, tuple[Array, Array, Array]]:
    """y, and what the backward pass keeps."""
    x_wide = _widen(x)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x_wide), axis=-1) + epsilon)
    y = x_wide * inverse[..., None] * _like(x, scale)
    return y.astype(jnp.result_type(x, scale)), (x, scale, inverse)


def _rms_norm_backward(
    epsilon: float, kept: tuple[Array, Array, Array], gradient: Array
) -> tuple[Array, Array]:
    x, scale, inverse = kept
    x_wide, scale_wide, gradient = _widen(x), _widen(scale), _widen(gradient)
    product = x_wide * gradient
    dot = functools.partial(jnp.einsum, precision="highest")
    shrink = inverse**3 * dot("...d,d->...", product, scale_wide) / x.shape[-1]
    into_x = (
        inverse[..., None] * _like(x, scale_wide) * gradient
        - x_wide * shrink[..., None]
    )
    into_scale = dot("...,...d->d", inverse, product)
    return into_x.astype(x.dtype), into_scale.astype(scale.dtype)


rms_norm.defvjp(_rms_norm, _rms_norm_backward)


def _widen(array: Array) -> Array:
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _like(x: Array, vector: Array) -> Array:
    """A vector over the last axis of x, with as many axes as x."""
    return jnp.expand_dims(vector, range(x.ndim - 1))


class RMSNorm(nnx.Module):
    """`rms_norm` with a scale that is learnt."""

    def __init__(self, size: int, epsilon: float):
        self.scale = nnx.Param(jnp.ones(size))
        self.epsilon = epsilon

    def __call__(self, x: Array) -> Array:
        return rms_norm(x, self.scale[...], self.epsilon)


class LayerNorm(nnx.Module):
    """`rms_norm` of what differs from the mean, and a bias.

        s (x - mean x) / √(var x + ε) + b

    Reference:
      Ba et al., 2016, "Layer normalization", https://arxiv.org/abs/1607.06450.
    """

    def __init__(self, size: int, epsilon: float):
        self.scale = nnx.Param(jnp.ones(size))
        self.bias = nnx.Param(jnp.zeros(size))
        self.epsilon = epsilon

    def __call__(self, x: Array) -> Array:
        x_wide = _widen(x)
        centred = x_wide - jnp.mean(x_wide, axis=-1, keepdims=True)
        normed = rms_norm(centred, self.scale[...], self.epsilon)
        shifted = normed + _like(x, self.bias[...])
        return shifted.astype(jnp.result_type(x, self.scale[...]))


def stack_layers(
    make: Callable[[nnx.Rngs], nnx.Module], num_layers: int, rngs: nnx.Rngs
) -> nnx.Module:
    """One module whose weights carry a leading layer axis, each layer drawn apart."""
    stacked = nnx.split_rngs(splits=num_layers)(nnx.vmap(make, in_axes=0, out_axes=0))
    return stacked(rngs)
