"""Adapters: they change nothing at first, and what they learn can be merged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sophia_jax.config import LoraConfig
from sophia_jax.models.adapters import add_adapters, merge_adapters
from sophia_jax.models.checkpoint_folder import save_checkpoint
from sophia_jax.models.folder import save_model
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.logical_axes import param_shardings
from sophia_jax.sharding import TRAINING, Partition, make_mesh

LORA = LoraConfig(rank=4, alpha=6.0)
TOKENS = np.arange(9, 21).reshape(2, 6)


@pytest.fixture(scope="module")
def adapted(text_model):
    """With adapters whose B is no longer zero."""
    return with_random_b(add_adapters(jax.random.key(3), text_model, LORA))


def with_random_b(model):
    rng = np.random.default_rng(0)
    adapters = {
        name: adapter | {"b": jnp.asarray(rng.normal(size=adapter["b"].shape) / 8, "f")}
        for name, adapter in model.params["adapters"].items()
    }
    return dataclasses.replace(model, params=model.params | {"adapters": adapters})


@jax.jit(static_argnums=0)
def hidden_states(graphdef, params):
    model = nnx.merge(graphdef, params)
    embeds = model.embed(TOKENS, None, np.full_like(TOKENS, -1))
    positions = np.tile(np.arange(6), (2, 1))
    return model.decoder(embeds, positions, np.ones_like(TOKENS))


def hidden(model):
    return np.asarray(hidden_states(model.graphdef, model.params))


def test_new_adapters_change_nothing_and_copy_nothing(text_model):
    model = add_adapters(jax.random.key(0), text_model, LORA)
    np.testing.assert_array_equal(hidden(model), hidden(text_model))
    assert model.params["decoder"] is text_model.params["decoder"]
    assert "adapters" not in text_model.params


def test_adapters_stand_beside_what_they_adapt(text_model):
    # Two layers of width 32, two key heads of 8, an MLP of 48.
    lora = LoraConfig(rank=4, targets=("key", "down"))
    found = add_adapters(jax.random.key(0), text_model, lora).params["adapters"]
    assert jax.tree.map(jnp.shape, found) == {
        "key": {"a": (2, 32, 4), "b": (2, 4, 16)},
        "down": {"a": (2, 48, 4), "b": (2, 4, 32)},
    }
    # Uniform within ± 1 / √inputs, and each layer by itself.
    a = np.asarray(found["key"]["a"])
    assert 0.9 * 32**-0.5 < np.abs(a).max() <= 32**-0.5
    assert np.any(a[0] != a[1])


def test_the_merged_model_computes_the_same(text_model, adapted):
    merged = merge_adapters(adapted)
    assert jax.tree.structure(merged.params) == jax.tree.structure(text_model.params)
    assert np.abs(hidden(adapted) - hidden(text_model)).max() > 0.1
    np.testing.assert_allclose(hidden(merged), hidden(adapted), atol=2e-5)
    embedding = merged.params["decoder"]["embedding"]["embedding"]
    assert embedding is text_model.params["decoder"]["embedding"]["embedding"]


def test_narrow_weights_are_merged_in_float32_and_rounded_once(adapted):
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), adapted.params["decoder"])
    params = adapted.params | {"decoder": params}
    narrow = dataclasses.replace(adapted, params=params)
    computed = jax.eval_shape(hidden_states, narrow.graphdef, narrow.params)
    assert computed.dtype == narrow.dtype == jnp.bfloat16  # not the adapters' float32
    kernel = merge_adapters(narrow).params["decoder"]["layers"]["up"]["kernel"]
    a, b = (np.float64(adapted.params["adapters"]["up"][name]) for name in "ab")
    exact = np.float64(params["decoder"]["layers"]["up"]["kernel"]) + 6 / 4 * (a @ b)
    assert kernel.dtype == jnp.bfloat16
    np.testing.assert_array_equal(kernel, exact.astype(jnp.bfloat16))


def test_a_donated_model_is_merged_where_it_stands(adapted):
    copy = dataclasses.replace(
        adapted, params=jax.tree.map(lambda x: jnp.array(x, copy=True), adapted.params)
    )
    expected = merge_adapters(adapted).params
    merged = merge_adapters(copy, donate=True)
    jax.tree.map(np.testing.assert_array_equal, merged.params, expected)
    layers = [each.params["decoder"]["layers"] for each in (copy, adapted)]
    given, kept = (each["up"]["kernel"].is_deleted() for each in layers)
    assert given
    assert not kept


def test_gradients_of_adapters_are_those_of_the_merged_weights(adapted):
    merged = merge_adapters(adapted)

    def loss(params, model):
        return jnp.sum(jnp.sin(hidden_states(model.graphdef, params)))

    def gradient_of(model):
        gradient = jax.jit(jax.grad(lambda params: loss(params, model)))
        return jax.device_get(gradient(model.params))

    found, adapters = gradient_of(adapted)["adapters"], adapted.params["adapters"]
    of_weights = gradient_of(merged)["decoder"]["layers"]
    for name, gradient in found.items():
        # L(W + s A B): dL/dA = s dL/dW B', dL/dB = s A' dL/dW.
        adapter, kernel = jax.device_get(adapters[name]), of_weights[name]["kernel"]
        into_a = 1.5 * kernel @ adapter["b"].swapaxes(1, 2)
        into_b = 1.5 * adapter["a"].swapaxes(1, 2) @ kernel
        for kind, expected in (("a", into_a), ("b", into_b)):
            size = np.abs(expected).max()
            assert size > 1e-3
            np.testing.assert_allclose(gradient[kind], expected, atol=1e-4 * size)


def test_adapters_are_cut_as_what_they_adapt(text_model):
    partition = Partition(make_mesh(fsdp=2), TRAINING)
    shapes = abstract_params(text_model.config, lora=LORA)
    places = param_shardings(text_model.config, partition, lora=LORA)
    assert jax.tree.structure(places) == jax.tree.structure(shapes)
    for name, adapter in places["adapters"].items():
        layer, inputs, outputs = places["decoder"]["layers"][name]["kernel"].spec
        assert tuple(adapter["a"].spec) == (layer, inputs, None)
        assert tuple(adapter["b"].spec) == (layer, None, outputs)


def test_a_model_with_adapters_is_not_saved_without_them(adapted, tmp_path):
    for save in (save_model, save_checkpoint):
        with pytest.raises(ValueError, match="without adapters, got one with"):
            save(adapted, tmp_path / "model")
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_is_refused(text_model, adapted):
    with pytest.raises(ValueError, match="without adapters, got one with"):
        add_adapters(jax.random.key(0), adapted, LORA)
    with pytest.raises(ValueError, match="with adapters, got one without"):
        merge_adapters(text_model)
    for fields, said in (
        ({"rank": 0}, "lora rank: expected > 0, got 0"),
        ({"alpha": 0.0}, "lora alpha: expected > 0, got 0.0"),
        ({"targets": ()}, "each once, got none"),
        ({"targets": ("query", "query")}, "each once, got query, query"),
        ({"targets": ("query", "head")}, "each once, got query, head"),
    ):
        with pytest.raises(ValueError, match=said):
            LoraConfig(**fields)
