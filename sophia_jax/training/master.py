"""Float32 copies of weights that are computed with in fewer bits."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = ["MasterState", "apply_updates", "kept_weights", "with_master"]


class MasterState(NamedTuple):
    """An optimizer's state, and the weights that it works on.

    Attributes:
      master: float32, with the structure of the parameters.
      inner: the optimizer's own state, of the master.
    """

    master: optax.Params
    inner: optax.OptState


def with_master(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer of float32 copies; the parameters are the copies, rounded.

    A bfloat16 weight has 8 significant bits: an update of less than 1/512 of it would
    leave it as it is, and a thousand of them too. In a float32 copy they add up.

    Args:
      inner: works on the copies, with gradients in float32. Its updates are for
        `apply_updates` of this module.

    Reference:
      Micikevicius et al., 2018, "Mixed precision training",
      https://arxiv.org/abs/1710.03740, section 3.1.
    """

    def init(params: optax.Params) -> MasterState:
        wide = [leaf.dtype for leaf in jax.tree.leaves(params) if _is_wide(leaf)]
        if wide:
            raise ValueError(
                "master: expected weights of fewer bits than float32, got "
                f"{len(wide)} of {wide[0]}"
            )
        master = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
        return MasterState(master, inner.init(master))

    def update(
        gradient: optax.Updates, state: MasterState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, MasterState]:
        gradient = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), gradient)
        updates, opt_state = inner.update(gradient, state.inner, state.master)
        return updates, MasterState(
            optax.apply_updates(state.master, updates), opt_state
        )

    return optax.GradientTransformation(init, update)


def apply_updates(
    params: optax.Params, updates: optax.Updates, opt_state: optax.OptState
) -> optax.Params:
    """The parameters after an update.

    Args:
      params: before it.
      updates: of the optimizer.
      opt_state: after the update; where it holds master copies, the parameters are
        these, rounded once.
    """
    if not isinstance(opt_state, MasterState):
        return optax.apply_updates(params, updates)
    return jax.tree.map(
        lambda leaf, master: master.astype(leaf.dtype), params, opt_state.master
    )


def kept_weights(params: optax.Params, opt_state: optax.OptState) -> optax.Params:
    """The weights as the optimizer keeps them, and wants gradients of."""
    return opt_state.master if isinstance(opt_state, MasterState) else params


def _is_wide(leaf: jax.Array) -> bool:
    return jnp.finfo(leaf.dtype).bits >= 32
