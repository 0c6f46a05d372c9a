"""The layers' own functions against what autodiff and the definition give."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sophia_jax.models.layers import LayerNorm, RMSNorm, gated_silu, rms_norm


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


NORMS = {  # ours, and flax's own
    "rms_norm": (
        lambda size: RMSNorm(size, 1e-6),
        lambda size: nnx.RMSNorm(size, epsilon=1e-6, rngs=nnx.Rngs(0)),
    ),
    "layer_norm": (
        lambda size: LayerNorm(size, 1e-6),
        lambda size: nnx.LayerNorm(
            size, epsilon=1e-6, use_fast_variance=False, rngs=nnx.Rngs(0)
        ),
    ),
}


@pytest.mark.parametrize("mean", [0.0, 1000.0])
@pytest.mark.parametrize("name", NORMS)
def test_values_and_gradients_of_norms_are_those_of_flax(name, mean):
    keys = jax.random.split(jax.random.key(0), 4)
    x = mean + jax.random.normal(keys[0], (3, 5, 16))
    above = jax.random.normal(keys[1], x.shape)
    learnt = {
        "scale": 1 + jax.random.normal(keys[2], 16),
        "bias": jax.random.normal(keys[3], 16),
    }

    results = []
    for make in NORMS[name]:
        graph, state = nnx.split(make(16))
        for parameter in state:
            state[parameter].set_value(learnt[parameter])
        value, gradient_of = jax.vjp(lambda s, x, g=graph: nnx.merge(g, s)(x), state, x)
        results.append(jax.tree.leaves((value, gradient_of(above))))

    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", [RMSNorm, LayerNorm])
def test_norms_of_narrow_numbers_are_computed_wide_and_given_back_narrow(make, narrow):
    norm = make(64, 1e-6)
    x = jax.random.normal(jax.random.key(0), (4, 64)).astype(narrow)
    wide = norm(x.astype("float32"))
    nnx.update(norm, jax.tree.map(lambda leaf: leaf.astype(narrow), nnx.state(norm)))

    value, gradient_of = jax.vjp(norm, x)

    assert value.dtype == gradient_of(value)[0].dtype == narrow
    np.testing.assert_array_equal(value, wide.astype(narrow))


def test_layer_norm_keeps_its_digits_under_a_large_mean():
    # Shifting x leaves (x - mean) / std as it was; a shift of 100 costs 7 bits of x.
    x = np.random.default_rng(0).normal(size=(4, 256)).astype(np.float32)
    norm = LayerNorm(256, 1e-6)
    np.testing.assert_allclose(norm(jnp.asarray(x + 100)), norm(x), atol=1e-4)


def test_rms_norm_does_not_change_with_the_size_of_its_input():
    x, scale = jax.random.normal(jax.random.key(0), (2, 4, 8))[:, :1]

    value, gradient_of = jax.vjp(lambda x: rms_norm(x, scale[0], 0.0), x)
    (into_x,) = gradient_of(jnp.arange(8.0)[None])

    np.testing.assert_allclose(rms_norm(1024 * x, scale[0], 0.0), value, rtol=1e-6)
    np.testing.assert_allclose(jnp.sum(into_x * x), 0, atol=1e-5)  # d y(cx) / dc = 0
