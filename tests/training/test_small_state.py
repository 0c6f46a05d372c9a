"""Eight-bit moments: how far they may be off, and that training does not mind."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sophia_jax.config import OptimizerConfig
from sophia_jax.sharding import TRAINING, Partition, make_mesh
from sophia_jax.training.layout import optimizer_shardings
from sophia_jax.training.optimizer import adamw
from sophia_jax.training.small_state import decode, encode, scale_by_small_adam

SIGNED, UNSIGNED = pytest.param(True, id="mean"), pytest.param(False, id="square")
COUNT = jnp.int32(3)
rounded = jax.jit(encode, static_argnames="signed")


def values(*, signed, shape=(6, 130)):
    """Within a thousandth of the largest of all and the largest itself."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(-6.9, 0, shape))
    signs = rng.choice([-1, 1], shape) if signed else 1
    return jnp.asarray(signs * sizes, jnp.float32)


@pytest.mark.parametrize("signed", [SIGNED, UNSIGNED])
def test_a_moment_is_off_by_less_than_a_level(signed):
    x = values(signed=signed)
    levels, scales = rounded(x, COUNT, signed=signed)
    found = decode(levels, scales)
    share = np.abs(found - x) / np.abs(x)
    assert share.max() < np.expm1(0.1) + 1e-4  # by exp(0.1) neighbours differ
    assert levels.dtype == (jnp.int8 if signed else jnp.uint8)
    assert scales.shape == (6, 3)  # 64, 64 and 2 of the last axis
    np.testing.assert_array_equal(scales[:, 2], np.abs(x[:, 128:]).max(axis=1))
    blocks = np.abs(np.asarray(x))[:, :128].reshape(6, 2, 64)
    np.testing.assert_array_equal(scales[:, :2], blocks.max(axis=2))
    # The largest of each block is as it was.
    largest = np.abs(np.asarray(found))[:, :128].reshape(6, 2, 64).max(axis=2)
    np.testing.assert_allclose(largest, blocks.max(axis=2), rtol=1e-6)


@pytest.mark.parametrize("signed", [SIGNED, UNSIGNED])
def test_errors_of_many_updates_cancel(signed):
    x = values(signed=signed, shape=(2, 64))
    many = jax.jit(jax.vmap(lambda count: decode(*encode(x, count, signed=signed))))(
        jnp.arange(1000, dtype=jnp.int32)
    )
    assert np.abs(many[0] - x).max() > 0.01
    np.testing.assert_allclose(np.float64(many).mean(axis=0), x, rtol=1e-3)


def test_a_square_that_is_positive_never_becomes_zero():
    x = jnp.asarray([[1.0, 1e-5, 1e-12, 1e-30, 0.0, 0.0]])
    for count in range(20):
        levels, scales = rounded(x, jnp.int32(count), signed=False)
        np.testing.assert_array_equal(levels[0] > 0, [1, 1, 1, 1, 0, 0])
    # The lowest level is exp(-25.4) of the largest: updates can only be smaller.
    lowest = decode(levels, scales)[0, 2]
    assert lowest == pytest.approx(np.exp(-254 * 0.1), rel=1e-4)
    zeros = rounded(jnp.zeros((2, 3)), COUNT, signed=False)
    np.testing.assert_array_equal(decode(*zeros), 0)


def test_a_square_falls_by_less_than_a_level_and_still_falls():
    # 0.999^2000 = 0.135, in steps of a thousandth; a level is a tenth.
    start = values(signed=False, shape=(1, 64)).at[0, 0].set(1.0)

    @jax.jit
    def after(start):
        def fall(count, moment):
            fallen = (0.999 * decode(*moment)).at[0, 0].set(1.0)
            return encode(fallen, count, signed=False)

        first = encode(start, jnp.int32(0), signed=False)
        return decode(*jax.lax.fori_loop(1, 2001, fall, first))

    found = np.asarray(after(start) / start)[0, 1:]
    assert found.mean() == pytest.approx(0.999**2000, rel=0.12)
    assert 0.7 * 0.999**2000 < found.min() < found.max() < 1.25 * 0.999**2000


def test_the_first_update_is_that_of_adam():
    # Before anything is rounded.
    gradient = {"kernel": values(signed=True)}
    small, adam = (
        scale_by_small_adam(beta1=0.9, beta2=0.95),
        optax.scale_by_adam(b2=0.95),
    )
    found, _ = jax.jit(small.update)(gradient, small.init(gradient))
    expected, _ = adam.update(gradient, adam.init(gradient))
    np.testing.assert_allclose(found["kernel"], expected["kernel"], rtol=1e-5)


def test_beside_an_outlier_the_rest_of_a_block_moves_as_with_float32():
    # Gradients of a thousandth of the largest one, squares of a millionth.
    sizes = np.full((4, 64), 1e-3, np.float32)
    sizes[:, 0] = 1.0
    noise = np.random.default_rng(0).normal(size=(200, 4, 64)).astype(np.float32)

    def moved(optimizer, gradients):
        def step(state, gradient):
            update, state = optimizer.update(gradient, state)
            return state, update

        run = jax.jit(lambda state: jax.lax.scan(step, state, gradients)[1].sum(axis=0))
        return run(optimizer.init(jnp.zeros((4, 64))))

    small = scale_by_small_adam(beta1=0.9, beta2=0.999)
    adam = optax.scale_by_adam(b1=0.9, b2=0.999)
    steady, noisy = (jnp.asarray(sizes * (1 + size * noise)) for size in (0, 0.3))
    np.testing.assert_allclose(moved(small, steady), moved(adam, steady), rtol=0.05)
    # The rounding of each entry adds up to some percent, as if the noise were larger.
    share = np.asarray(moved(small, noisy) / moved(adam, noisy))
    np.testing.assert_allclose(share.mean(axis=1), 1.0, rtol=0.05)
    np.testing.assert_allclose(share, 1.0, rtol=0.2)


def regression(**changes):
    """The last loss of a network of two layers, and its state."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(256, 32)), jnp.float32)
    true = [
        jnp.asarray(rng.normal(size=s) / s[0] ** 0.5, "f") for s in ((32, 96), (96, 16))
    ]
    y = jnp.tanh(x @ true[0]) @ true[1]
    start = [
        jax.random.normal(jax.random.key(1), w.shape) / len(w) ** 0.5 for w in true
    ]
    params = {name: {"kernel": w} for name, w in zip("ab", start, strict=True)}
    settings = {"learning_rate": 1e-2, "weight_decay": 0.0} | changes
    optimizer = adamw(OptimizerConfig(num_steps=200, **settings))

    def loss(params):
        return jnp.mean(
            (jnp.tanh(x @ params["a"]["kernel"]) @ params["b"]["kernel"] - y) ** 2
        )

    @jax.jit
    def run(params, state):
        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        (_, state), losses = jax.lax.scan(step, (params, state), length=200)
        return state, losses

    state, losses = run(params, optimizer.init(params))
    return losses.tolist(), state, params


@pytest.mark.parametrize("beta2", [0.95, 0.999])
def test_training_ends_where_it_ends_with_float32(beta2):
    losses, state, params = regression(beta2=beta2)
    small_losses, small_state, _ = regression(beta2=beta2, state="int8")
    assert losses[-1] < 0.02 * losses[0]
    assert small_losses[-1] == pytest.approx(losses[-1], rel=0.15)
    # 8 bytes a parameter and a count; 2, and 4 for every 64 of a row (96 are two).
    count = 2 * 4  # of Adam and of the schedule
    size = 32 * 96 + 96 * 16
    blocks = 32 * 2 + 96 * 1
    assert nbytes(state) == 8 * size + count
    assert nbytes(small_state) == 2 * (size + 4 * blocks) + count
    moments = small_state[1][0].mu
    for part in moments:  # so that places follow from paths
        assert jax.tree.structure(part) == jax.tree.structure(params)


def nbytes(tree):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_moments_and_scales_are_cut_as_their_weights(text_model):
    partition = Partition(make_mesh(fsdp=2), TRAINING)
    optimizer = adamw(OptimizerConfig(num_steps=1, state="int8"))
    params = {"decoder": text_model.params["decoder"]}
    state = jax.eval_shape(optimizer.init, params)
    places = optimizer_shardings(state, params, partition)[1][0]
    for moment in (places.mu, places.nu):
        up, scales = (part["decoder"]["layers"]["up"]["kernel"].spec for part in moment)
        # The inputs; 48 outputs are one block.
        assert up[1] == scales[1] == ("fsdp", "context")
