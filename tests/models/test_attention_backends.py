"""Each way of computing attention gives the formula's values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.models import attention_backends, splash
from sophia_jax.models.attention_backends import causal_attention, full_attention
from sophia_jax.models.splash import block_for

# Segments that end within blocks of 128, fill several, and leave padding in both rows.
SEGMENTS = np.zeros((2, 200), np.int32)
SEGMENTS[0, :50], SEGMENTS[0, 50:190] = 3, 1
SEGMENTS[1, :130], SEGMENTS[1, 130:197] = 1, 2


def scene(heads, kv_heads, head_dim, token=200, dtype=np.float32):
    """Query, key, value and the gradient from above."""
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=(2, token, count, head_dim)).astype(dtype)
        for count in (heads, kv_heads, kv_heads, heads)
    ]


def by_the_formula(query, key, value, above, seen):
    """Attention and its gradients, in float64 and one line for each equation."""
    query, key, value, above = (
        x.astype(np.float64).swapaxes(1, 2) for x in (query, key, value, above)
    )
    share, scale = query.shape[1] // key.shape[1], query.shape[3] ** -0.5
    keys, values = (x.repeat(share, axis=1) for x in (key, value))
    weights = np.where(seen[:, None], np.exp(scale * query @ keys.mT), 0)
    weights /= np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)
    out = weights @ values
    into_weights = above @ values.mT
    drift = (weights * into_weights).sum(axis=-1, keepdims=True)
    into_scores = scale * weights * (into_weights - drift)

    def by_key_head(x):
        return x.reshape(*key.shape[:2], share, *x.shape[2:]).sum(axis=2)

    found = (
        out,
        into_scores @ keys,
        by_key_head(into_scores.mT @ query),
        by_key_head(weights.mT @ above),
    )
    return [x.swapaxes(1, 2) for x in found]


def value_and_gradients(attend, query, key, value, above):
    def total(query, key, value):
        out = attend(query, key, value)
        return jnp.sum(out * above), out

    gradient = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))
    (_, out), gradients = gradient(query, key, value)
    return (out, *gradients)


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


@pytest.fixture
def small_blocks(monkeypatch):
    """Several blocks in short rows."""
    splash.splash_kernel.cache_clear()
    monkeypatch.setattr(splash, "LONGEST_BLOCK", 128)
    yield
    splash.splash_kernel.cache_clear()


@pytest.fixture
def cudnn(monkeypatch):
    """cuDNN's calls, computed by XLA, once they keep what cuDNN asks for."""
    attend, calls = jax.nn.dot_product_attention, []

    def checked(query, key, value, *, mask=None, implementation=None, **options):
        if implementation == "cudnn":
            calls.append(mask)
            assert query.shape[3] % 8 == 0
            assert mask is None or (query.shape[1] % 2, key.shape[1] % 2) == (0, 0)
        return attend(query, key, value, mask=mask, **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", checked)
    return calls


@pytest.mark.parametrize(
    ("backend", "heads", "kv_heads", "head_dim"),
    [
        ("xla", 4, 2, 64),
        ("splash", 4, 2, 64),
        ("splash", 2, 1, 128),
        ("splash", 2, 2, 20),
        ("cudnn", 4, 2, 64),
        ("cudnn", 2, 1, 20),
    ],
)
def test_packed_rows_are_attended_as_the_formula_says(
    backend, heads, kv_heads, head_dim, small_blocks, cudnn
):
    arrays = scene(heads, kv_heads, head_dim)
    attend = functools.partial(
        causal_attention,
        segment_ids=jnp.asarray(SEGMENTS),
        backend=backend,
        interpret=True,
    )
    same = (SEGMENTS[:, :, None] == SEGMENTS[:, None]) & (SEGMENTS > 0)[:, None]
    expected = by_the_formula(*arrays, np.tril(same))
    found = value_and_gradients(attend, *arrays)
    assert_equal(found, expected)
    for x in found:  # the gradient from above is not 0 there
        assert not np.any(np.asarray(x)[SEGMENTS == 0])
    assert len(cudnn) == (backend == "cudnn")


@pytest.mark.parametrize("backend", ["splash", "cudnn"])
def test_tiles_are_attended_whole(backend, small_blocks, cudnn):
    arrays = scene(2, 2, 24, token=131)
    attend = functools.partial(full_attention, backend=backend, interpret=True)
    expected = by_the_formula(*arrays, np.ones((2, 131, 131), bool))
    assert_equal(value_and_gradients(attend, *arrays), expected)
    assert cudnn == ([None] if backend == "cudnn" else [])


def test_short_rows_give_padding_nothing_too():
    query, key, value, _ = scene(2, 2, 8, token=20)
    ids = jnp.asarray(SEGMENTS[:, 180:])
    out = jax.jit(causal_attention)(query, key, value, ids)
    assert not np.any(out[np.asarray(ids) == 0])
    assert np.all(np.any(out[np.asarray(ids) > 0], axis=-1))


def test_a_row_has_the_fewest_and_shortest_blocks():
    # 1,025 tokens: three blocks, of 341.7 tokens or more, hence of 3 x 128.
    lengths = {1: 128, 128: 128, 129: 256, 512: 512, 513: 384, 1025: 384, 32768: 512}
    assert {token: block_for(token) for token in lengths} == lengths


@pytest.mark.parametrize("backend", ["xla", "splash"])
def test_the_dtype_of_the_inputs_is_kept(backend):
    narrow = [jnp.asarray(x, jnp.bfloat16) for x in scene(2, 1, 64)[:3]]
    for attend in (
        lambda query, key, value: causal_attention(
            query, key, value, jnp.asarray(SEGMENTS), backend=backend
        ),
        lambda query, key, value: full_attention(query, query, query, backend=backend),
    ):
        assert jax.eval_shape(attend, *narrow).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("platform", "dtype", "head_dim", "most_scores", "calls"),
    [
        ("gpu", jnp.bfloat16, 64, 80_000, 1),  # 2 x 200 x 200 scores
        ("gpu", jnp.bfloat16, 64, 79_999, 0),
        ("gpu", jnp.bfloat16, 136, 80_000, 0),
        ("gpu", jnp.float32, 64, 80_000, 0),
        ("cpu", jnp.bfloat16, 64, 80_000, 0),
    ],
)
def test_a_gpu_uses_cudnn_where_it_can(
    platform, dtype, head_dim, most_scores, calls, monkeypatch, cudnn
):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(attention_backends, "MOST_CUDNN_SCORES", most_scores)
    arrays = [jnp.asarray(x, dtype) for x in scene(2, 1, head_dim)[:3]]
    jax.eval_shape(causal_attention, *arrays, jnp.asarray(SEGMENTS))
    assert len(cudnn) == calls


def test_cudnn_is_compiled_for_gpus_forward_and_backward(monkeypatch):
    # Lowering needs no GPU, but asks for the version of the library that is installed.
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(
        fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000
    )

    def total(query, key, value):
        rows = causal_attention(
            query, key, value, jnp.asarray(SEGMENTS), backend="cudnn"
        )
        tiles = full_attention(query, query, query, backend="cudnn")
        return jnp.sum((rows + tiles).astype(jnp.float32))

    arrays = [jnp.asarray(x, jnp.bfloat16) for x in scene(4, 2, 64)[:3]]
    traced = jax.jit(jax.grad(total, (0, 1, 2))).trace(*arrays)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    for call in ("Softmax", "SoftmaxBackward", "ScaleBiasSoftmaxBackward"):
        assert f'"__cudnn$fmha{call}"' in program or f"@__cudnn$fmha{call}(" in program
