"""Value iteration for agents: damped, of clipped span, compiled, in float32."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.types import Array, Float, Int, Scalar

__all__ = ["Plan", "clipped_span", "value_iteration"]

DAMPING = 0.5  # of an iteration; less than 1, so that no chain is periodic


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["action_values", "values", "policy", "gain", "num_iterations"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Plan:
    """A policy, and the values that it is greedy for.

    Attributes:
      action_values: r(s, a) + E[V(s')], Float[state action]; Q is that less the gain.
      values: V(s), Float[state], centered: max V = -min V.
      policy: argmax_a, Int[state].
      gain: J.
      num_iterations: how many it took.
    """

    action_values: Float[Array, "state action"]
    values: Float[Array, " state"]
    policy: Int[Array, " state"]
    gain: Float[Array, ""]
    num_iterations: Int[Array, ""]


def clipped_span(values: Float[Array, " state"], bound: Scalar) -> Array:
    """min(V, min V + sp): no state is better than the worst by more than the span."""
    return jnp.minimum(values, values.min() + bound)


def _centered(values: Array) -> Array:
    return values - (values.max() + values.min()) / 2


def value_iteration(
    backup: Callable[[Float[Array, " state"]], Float[Array, "state action"]],
    start: Float[Array, " state"],
    *,
    span_bound: Scalar = jnp.inf,
    tolerance: Scalar = 1e-4,
    max_iterations: int = 20_000,
) -> Plan:
    """Repeat V <- clip((V + max_a backup(V)) / 2) until it only rises by a constant.

    That constant is half of the gain. Where the backup is that of an MDP, and its span
    is within the bound, this is relative value iteration, and V its bias.

    Args:
      backup: V -> r(s, a) + E[V(s')], or what is believed of it; it must move by a
        constant as V does.
      start: the first V; a former one saves iterations.
      span_bound: sp(V) is kept at or below it.
      tolerance: on the gain: sp of the last rise, doubled.
      max_iterations: at which it ends, converged or not (an operator that is believed
        may have no fixed point); the policy is greedy for the last V then.
    """

    def improved(values: Array) -> Array:
        target = backup(values).max(1)
        return clipped_span(values + DAMPING * (target - values), span_bound)

    def unsettled(carry: tuple) -> Array:
        _, rise, count = carry
        span = rise.max() - rise.min()
        return (span > DAMPING * tolerance) & (count < max_iterations)

    def iterate(carry: tuple) -> tuple:
        values, _, count = carry
        new = improved(values)
        return _centered(new), new - values, count + 1

    values = _centered(clipped_span(start, span_bound))
    first = jnp.full_like(values, jnp.inf).at[0].set(-jnp.inf)
    end = jax.lax.while_loop(unsettled, iterate, (values, first, jnp.int32(0)))
    values, rise, count = end
    action_values = backup(values)
    gain = (rise.max() + rise.min()) / 2 / DAMPING
    policy = action_values.argmax(1).astype(jnp.int32)
    return Plan(action_values, values, policy, gain, count)
