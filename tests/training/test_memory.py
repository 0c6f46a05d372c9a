"""Updates that save memory: adapters, master copies, few bits, all of them in parts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sophia_jax.config import LoraConfig, OptimizerConfig
from sophia_jax.data.packing import pack_examples, pack_parts
from sophia_jax.models.adapters import add_adapters
from sophia_jax.training.master import apply_updates, with_master
from sophia_jax.training.optimizer import make_optimizer
from sophia_jax.training.step import init_state, lower_train_step, train_step


def narrow(model):
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model.params)
    return dataclasses.replace(model, params=params)


def optimizer(**changes):
    return make_optimizer(OptimizerConfig(num_steps=20, learning_rate=1e-2, **changes))


FEW_BITS = optimizer(state="int8")


@pytest.fixture(scope="module")
def adapted(text_model):
    """A bfloat16 model with adapters of float32."""
    return add_adapters(jax.random.key(0), narrow(text_model), LoraConfig(4))


@pytest.fixture
def updated(text_model, text_examples):
    """The state and the losses after three updates, in parts or not."""

    def updated(model, optimizer, *, num_parts=1, **options):
        sizes = {"row_length": 32}
        batch = (
            pack_examples(text_examples[:6], model.config, **sizes)
            if num_parts == 1
            else pack_parts(
                text_examples[:6], model.config, num_parts=num_parts, **sizes
            )
        )
        state, losses = init_state(model, optimizer, **options), []
        for _ in range(3):
            state, metrics = train_step(state, batch)
            losses.append(float(metrics["loss"]))
        return state, losses

    return updated


def test_adapters_alone_learn_and_alone_have_a_state(adapted, updated):
    model = adapted
    state, losses = updated(model, FEW_BITS, trainable=("adapters",))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.1
    # The base is the given one: neither changed nor copied.
    for mine, given in zip(
        *(jax.tree.leaves(each.params["decoder"]) for each in (state, model)),
        strict=True,
    ):
        assert mine is given
    before, after = (each.params["adapters"] for each in (model, state))
    for name, adapter in after.items():
        for kind, leaf in adapter.items():
            assert leaf.dtype == jnp.float32
            assert np.any(leaf != before[name][kind])
    shapes = {leaf.shape for leaf in jax.tree.leaves(before)}
    adam = state.opt_state[1][0]
    assert {leaf.shape for leaf in jax.tree.leaves(adam.mu.levels)} == shapes
    assert nbytes(state.opt_state) < nbytes(before)


def nbytes(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_a_program_gives_nothing_frozen_back(adapted, text_examples):
    model = adapted
    state = init_state(model, FEW_BITS, trainable=("adapters",))
    batch = pack_examples(text_examples[:6], model.config, row_length=32)
    analysis = lower_train_step(state, batch).compile().memory_analysis()
    learning = nbytes((model.params["adapters"], state.opt_state))
    rest = 16 * len(jax.tree.leaves(state))  # pointers, the metrics and the count
    assert learning <= analysis.output_size_in_bytes < learning + rest
    assert analysis.alias_size_in_bytes >= learning  # where the old ones stood
    assert nbytes(model.params["decoder"]) > 2 * rest


def test_updates_in_parts_are_the_same_with_adapters_in_few_bits(adapted, updated):
    options = {"trainable": ("adapters",)}
    _, whole = updated(adapted, FEW_BITS, **options)
    _, parts = updated(adapted, FEW_BITS, num_parts=3, **options)
    np.testing.assert_allclose(parts, whole, rtol=5e-3)


def test_the_weights_are_the_master_copies_rounded(text_model, updated):
    model = narrow(text_model)
    state, losses = updated(model, optimizer(master=True, state="int8"), num_parts=3)
    master = state.opt_state.master
    assert losses[-1] < losses[0] - 0.1
    for path, leaf in jax.tree_util.tree_leaves_with_path(master):
        assert leaf.dtype == jnp.float32, path
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), master),
        {"decoder": state.params["decoder"]},
    )
    kernel = master["decoder"]["layers"]["up"]["kernel"]
    assert np.any(kernel != kernel.astype(jnp.bfloat16).astype(jnp.float32))


def weight_after(optimizer, *, updates=1000, gradient=-1e-4):
    """A bfloat16 weight of 1 after equal steps of a ten-thousandth."""
    params = {"kernel": jnp.ones((1, 1), jnp.bfloat16)}
    gradient = {"kernel": jnp.full((1, 1), gradient)}

    @jax.jit
    def run(params, state):
        def step(_, carry):
            params, state = carry
            updates, state = optimizer.update(gradient, state, params)
            return apply_updates(params, updates, state), state

        return jax.lax.fori_loop(0, updates, step, (params, state))

    return float(run(params, optimizer.init(params))[0]["kernel"][0, 0])


def test_updates_too_small_for_bfloat16_add_up_in_the_master_copy():
    # 1 + 1000 / 10000, to bfloat16's 1/128; alone, each is lost.
    assert weight_after(with_master(optax.sgd(1.0))) == pytest.approx(1.1, abs=1 / 256)
    assert weight_after(optax.sgd(1.0)) == 1


def test_master_copies_of_float32_are_refused(text_model):
    with pytest.raises(ValueError, match="fewer bits than float32, got 15 of float32"):
        init_state(text_model, optimizer(master=True))
