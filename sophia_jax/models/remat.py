"""What a layer keeps for the backward pass, and what it forms again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import jax
from jax.ad_checkpoint import checkpoint_name

from sophia_jax.config import Remat
from sophia_jax.types import Array

__all__ = ["ATTENTION", "check_remat", "kept", "rematerialised"]

PROJECTION = "projection"  # into queries, keys and values, and out of attention
ATTENTION = "attention"  # and the logarithm of its weights' sum


def kept(x: Array, name: str = PROJECTION) -> Array:
    """The same array, which the policy "projections" keeps."""
    return checkpoint_name(x, name)


def rematerialised(layer: Callable, remat: Remat) -> Callable:
    """A layer whose backward pass forms again what the policy does not keep.

    A token of a layer of width d keeps:

        none         every activation, those of the MLP's width among them
        projections  the layer's input, its queries, keys and values, attention (with
                     the logarithm of its weights' sum) and what `out` makes of it:
                     4 d numbers, and keys and values; norms, rotations and the first
                     half of the MLP are formed again, attention is not
        block        the layer's input: d numbers; all else is formed again

    Args:
      layer: a function of arrays.
      remat: the policy.

    Raises:
      ValueError: there is no such policy.

    Reference:
      Chen et al., 2016, "Training deep nets with sublinear memory cost",
      https://arxiv.org/abs/1604.06174.
    """
    check_remat(remat)
    if remat == "none":
        return layer
    if remat == "block":
        return jax.checkpoint(layer)
    policies = jax.checkpoint_policies
    named = policies.save_only_these_names(PROJECTION, ATTENTION)
    policy = policies.save_from_both_policies(named, _is_cudnn_attention)
    return jax.checkpoint(layer, policy=policy)


def _is_cudnn_attention(primitive: Any, *_: Any, **__: Any) -> bool:
    """Its outputs have no names, among them the logarithm of its weights' sum."""
    return primitive.name.startswith("dot_product_attention_fwd")


def check_remat(remat: str) -> None:
    """Raises ValueError for what is no policy."""
    if remat not in get_args(Remat):
        expected = ", ".join(get_args(Remat))
        raise ValueError(f"remat: expected one of {expected}, got {remat}")
