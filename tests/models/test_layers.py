"""The layers' own functions against what autodiff and the definition give."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.models.layers import gated_silu


def by_definition(gate, up):
    return gate * jax.nn.sigmoid(gate) * up


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("bfloat16", 0.03)])
def test_the_gradient_of_gated_silu_is_that_of_its_definition(dtype, tolerance):
    gate, up, above = jax.random.normal(jax.random.key(0), (3, 5, 7)) * 3

    value, gradient_of = jax.vjp(by_definition, gate, up)
    narrow = (gate.astype(dtype), up.astype(dtype))
    found, found_gradient_of = jax.vjp(gated_silu, *narrow)

    np.testing.assert_allclose(
        found.astype("float32"), value, rtol=tolerance, atol=tolerance
    )
    assert found.dtype == dtype
    for ours, theirs in zip(
        found_gradient_of(above.astype(dtype)), gradient_of(above), strict=True
    ):
        assert ours.dtype == dtype
        np.testing.assert_allclose(
            ours.astype("float32"), theirs, rtol=tolerance, atol=5 * tolerance
        )


def test_gated_silu_is_closed_far_below_zero_and_the_identity_far_above():
    gate, up = jnp.array([-1000.0, 0.0, 1000.0]), jnp.full(3, 2.0)

    value, gradient_of = jax.vjp(gated_silu, gate, up)
    into_gate, into_up = gradient_of(jnp.ones(3))

    np.testing.assert_array_equal(value, [0, 0, 2000])
    np.testing.assert_array_equal(into_gate, [0, 1, 2])  # u σ(0) = 1
    np.testing.assert_array_equal(into_up, [0, 0, 1000])
