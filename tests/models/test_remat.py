"""What is formed again changes no gradient, and need not be held."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax._src.cudnn import fused_attention_stablehlo

from sophia_jax.config import ModelConfig, TextConfig
from sophia_jax.models.attention_backends import causal_attention
from sophia_jax.models.internvl import abstract_params, model_graph
from sophia_jax.models.remat import rematerialised
from sophia_jax.training.loop import TrainingConfig

POLICIES = ("none", "projections", "block")
TEXT = TextConfig(
    vocab_size=40,
    hidden_size=32,
    num_layers=10,  # so many are scanned
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_size=96,
    max_length=512,
    rope_theta=1e4,
    qk_norm=True,
)
CONFIG = ModelConfig(TEXT)


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)

    def drawn(leaf):
        return rng.normal(0, 0.2, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(drawn, abstract_params(CONFIG))


def gradient_of(params, remat):
    """The gradient of rows of 64 tokens, and the bytes that it held."""
    positions = jnp.broadcast_to(jnp.arange(64)[None], (4, 64))

    def total(params, embeds):
        decoder = nnx.merge(model_graph(CONFIG), params).decoder
        ids = jnp.ones_like(positions)
        return jnp.sum(jnp.sin(decoder(embeds, positions, ids, remat=remat)))

    embeds = jax.random.normal(jax.random.key(1), (4, 64, TEXT.hidden_size))
    compiled = jax.jit(jax.grad(total)).lower(params, embeds).compile()
    return compiled.memory_analysis().temp_size_in_bytes, compiled(params, embeds)


def test_gradients_are_equal_and_memory_falls_with_what_is_kept(params):
    temp_bytes, gradients = zip(
        *(gradient_of(params, remat) for remat in POLICIES), strict=True
    )
    for other in gradients[1:]:
        jax.tree.map(
            lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4),
            gradients[0],
            other,
        )
    none, projections, block = temp_bytes
    assert none > 1.2 * projections
    assert projections > 1.2 * block


def count(backend, remat, primitive):
    """How often a layer's value and gradient run a primitive, as traced."""
    ids = jnp.ones((1, 100), jnp.int32)

    def attend(x):
        return causal_attention(2 * x, 3 * x, 4 * x, ids, backend=backend)

    layer = rematerialised(attend, remat)
    x = jax.ShapeDtypeStruct((1, 100, 2, 64), jnp.bfloat16)
    gradient = jax.grad(lambda x: jnp.sin(layer(x).astype(jnp.float32)).sum())
    return str(jax.make_jaxpr(gradient)(x)).count(f"= {primitive}")


@pytest.mark.parametrize(
    ("backend", "primitive"),
    [("xla", "reduce_max["), ("cudnn", "dot_product_attention_fwd_wrapper[")],
)
def test_attention_is_computed_again_under_block_alone(backend, primitive, monkeypatch):
    monkeypatch.setattr(
        fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000
    )
    found = [count(backend, remat, primitive) for remat in POLICIES]
    assert found == [1, 1, 2]


def test_splash_keeps_attention_and_the_sum_of_its_weights(capsys):
    ids = jnp.ones((1, 100), jnp.int32)

    def attend(x):
        return causal_attention(2 * x, 3 * x, 4 * x, ids, backend="splash")

    x = jax.ShapeDtypeStruct((1, 100, 2, 64), jnp.bfloat16)
    kept = {}
    for remat in ("projections", "block"):
        jax.ad_checkpoint.print_saved_residuals(rematerialised(attend, remat), x)
        lines = capsys.readouterr().out.splitlines()
        kept[remat] = [line.split()[0] for line in lines if "splash" in line]
    assert kept == {"projections": ["bf16[1,2,128,64]", "f32[1,2,128]"], "block": []}


@pytest.mark.parametrize("remat", ["full", True])
def test_an_unknown_policy_is_refused(remat):
    line = f"remat: expected one of none, block, projections, got {remat}"
    with pytest.raises(ValueError, match=line):
        rematerialised(lambda x: x, remat)
    with pytest.raises(ValueError, match=line):
        TrainingConfig(None, remat=remat)
