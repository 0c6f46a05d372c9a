"""Packed attention: equal to the dense form, over the blocks that it needs alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.models.attention_backends import causal_mask
from sophia_jax.models.layers import attention
from sophia_jax.models.packed_attention import (
    blocks_back,
    packed_attention,
    segment_starts,
)

# Segments that end within blocks, fill several, and leave padding in one row.
SEGMENTS = np.asarray([[4] * 3 + [1] * 9 + [7] * 8, [2] * 11 + [5] * 2 + [0] * 7])


def scene(dtype=jnp.float32, batch=2, token=20, heads=4, kv_heads=2):
    """Query, key, value and the gradient from above: 0 on padding."""
    keys = jax.random.split(jax.random.key(0), 4)
    arrays = [
        jax.random.normal(key, (batch, token, count, 8), dtype)
        for key, count in zip(keys, (heads, kv_heads, kv_heads, heads), strict=True)
    ]
    return arrays


def value_and_gradients(attend, query, key, value, above):
    def total(query, key, value):
        out = attend(query, key, value)
        return jnp.sum(jnp.where(real(SEGMENTS), out * above, 0)), out

    (_, out), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(
        query, key, value
    )
    return out, gradients


def real(segments):
    return (segments > 0)[..., None, None]


def dense(query, key, value):
    return attention(query, key, value, causal_mask(jnp.asarray(SEGMENTS)))


def packed(block):
    return lambda query, key, value: packed_attention(
        query, key, value, jnp.asarray(SEGMENTS), block=block
    )


@pytest.mark.parametrize("block", [1, 4, 5, 16, 20, 64])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_values_and_gradients_are_those_of_dense_attention(block, kv_heads):
    arrays = scene(kv_heads=kv_heads)
    out, gradients = value_and_gradients(packed(block), *arrays)
    expected, expected_gradients = value_and_gradients(dense, *arrays)
    np.testing.assert_allclose(
        out, jnp.where(real(SEGMENTS), expected, 0), rtol=1e-5, atol=1e-6
    )
    for one, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_as_close_as_dense_attention_in_it():
    exact, gradients = value_and_gradients(dense, *scene())
    narrow = [array.astype(jnp.bfloat16) for array in scene()]
    out, ours = value_and_gradients(packed(4), *narrow)
    assert out.dtype == ours[1].dtype == jnp.bfloat16
    seen = real(SEGMENTS)
    np.testing.assert_allclose(
        jnp.where(seen, out, 0), jnp.where(seen, exact, 0), atol=0.03
    )
    for one, other in zip(ours, gradients, strict=True):
        np.testing.assert_allclose(one.astype(jnp.float32), other, atol=0.12)


def test_padding_gives_zeros_and_takes_no_gradient():
    query, key, value, above = scene()
    attend = packed(4)

    def total(query, key, value):
        return jnp.sum(attend(query, key, value) * above)  # padding's outputs count

    gradients = jax.grad(total, (0, 1, 2))(query, key, value)
    padding = SEGMENTS == 0
    assert not np.any(attend(query, key, value)[padding])
    for gradient in gradients:
        assert np.all(np.isfinite(gradient))
        assert not np.any(gradient[padding])


def test_rows_of_padding_alone_are_finite():
    query, key, value, above = scene()

    def total(query):
        out = packed_attention(query, key, value, jnp.zeros((2, 20), int), block=4)
        return jnp.sum(out * above)

    value_, gradient = jax.value_and_grad(total)(query)
    assert value_ == 0
    assert not np.any(gradient)


def test_blocks_of_other_segments_are_never_read():
    # Two segments of two blocks each. What the first holds is nan, which no mask keeps
    # out of a product that reads it; the second is as it was.
    segments = jnp.asarray([[1] * 8 + [2] * 8])
    query, key, value, above = scene(batch=1, token=16)

    def second(query, key, value):
        out = packed_attention(query, key, value, segments, block=4)
        return jnp.sum(out[:, 8:] * above[:, 8:])

    spoilt = [x.at[:, :8].set(jnp.nan) for x in (key, value)]
    gradient = jax.value_and_grad(second)
    clean, dirty = gradient(query, key, value), gradient(query, *spoilt)
    assert clean[0] == dirty[0]
    np.testing.assert_array_equal(clean[1][:, 8:], dirty[1][:, 8:])


def test_blocks_above_the_diagonal_are_never_read():
    query, key, value, _ = scene(batch=1, token=16)
    spoilt = value.at[:, 8:].set(jnp.nan)
    out = packed_attention(query, key, spoilt, jnp.ones((1, 16), int), block=4)
    assert np.all(np.isfinite(out[:, :8]))
    assert np.all(np.isnan(out[:, 8:]))


def test_the_loop_goes_back_to_the_first_segment_of_any_row():
    # Blocks of 2. Row 0: 1 1 1 1 2 2; row 1: 3 3 4 4 4 0. Queries 4, 5 need row 1's
    # block 1, queries 2, 3 row 0's block 0.
    segments = jnp.asarray([[1, 1, 1, 1, 2, 2], [3, 3, 4, 4, 4, 0]])
    starts = segment_starts(segments)
    assert starts.tolist() == [[0, 0, 0, 0, 4, 4], [0, 0, 2, 2, 2, 6]]
    assert blocks_back(starts, 2)[1].tolist() == [1, 2, 2]
    assert blocks_back(jnp.full((1, 6), 6), 2)[1].tolist() == [0, 0, 0]


def test_no_array_holds_all_scores():
    token, block = 2048, 64
    shapes = [
        jax.ShapeDtypeStruct((1, token, heads, 8), jnp.float32) for heads in (4, 2, 2)
    ]

    def temp_bytes(attend):
        gradient = jax.jit(jax.grad(lambda *x: attend(*x).sum(), (0, 1, 2)))
        compiled = gradient.lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    segments = jnp.ones((1, token), int)
    scores = 4 * 4 * token * token  # bytes, of four heads
    ours = temp_bytes(lambda *x: packed_attention(*x, segments, block=block))
    full = temp_bytes(lambda *x: attention(*x, causal_mask(segments)))
    assert full >= scores
    assert ours < scores / 10


def test_it_may_be_mapped_recomputed_and_scanned():
    query, key, value, above = scene()

    def one(query, key, value, segments):
        return packed_attention(
            query[None], key[None], value[None], segments[None], block=4
        )[0]

    mapped = jax.vmap(one)(query, key, value, jnp.asarray(SEGMENTS))
    plain = packed(4)(query, key, value)
    np.testing.assert_allclose(mapped, plain, rtol=1e-5, atol=1e-6)

    def layers(query, attend):
        def layer(carry, _):
            return attend(carry, key, value), None

        return jnp.sum(jax.lax.scan(layer, query, None, length=3)[0] * above)

    once = jax.grad(layers)(query, packed(4))
    again = jax.jit(jax.grad(layers), static_argnums=1)(
        query, jax.checkpoint(packed(4))
    )
    np.testing.assert_allclose(once, again, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(jax.device_count() < 2, reason="needs two devices")
def test_rows_split_over_devices_are_not_gathered():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    query, key, value, above = scene()
    arrays = [jax.device_put(x, split) for x in (query, key, value, SEGMENTS)]

    def total(query, key, value, segments):
        out = packed_attention(query, key, value, segments, block=4)
        return jnp.sum(out * above)

    gradient = jax.jit(jax.grad(total, (0, 1, 2)))
    program = gradient.lower(*arrays).compile().as_text()
    assert "all-gather" not in program
    assert "all-to-all" not in program
    whole = gradient(query, key, value, jnp.asarray(SEGMENTS))
    for one, other in zip(gradient(*arrays), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block", [0, -1])
def test_a_block_below_one_is_refused(block):
    with pytest.raises(ValueError, match=f"block: expected >= 1 token, got {block}"):
        packed(block)(*scene()[:3])
