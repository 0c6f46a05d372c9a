"""AdamW, Adafactor and Muon, their schedule, and what each does to which weights."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sophia_jax.config import OptimizerConfig
from sophia_jax.training.optimizer import (
    adafactor,
    adamw,
    decays,
    layer_kernels,
    learning_rate,
    make_optimizer,
    muon,
)


def config(**changes):
    return OptimizerConfig(**{"num_steps": 100, "learning_rate": 1.0} | changes)


@pytest.mark.parametrize(
    ("step", "rate"),
    # 0.25 + 0.75 (1 + cos(pi t / 100)) / 2; cos(pi / 4) = 0.7071
    [(0, 1.0), (25, 0.890165), (50, 0.625), (75, 0.359835), (100, 0.25), (140, 0.25)],
)
def test_the_rate_falls_by_a_cosine_to_a_quarter(step, rate):
    assert learning_rate(config())(step) == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 0.0), (5, 0.5), (10, 1.0), (60, 0.625), (110, 0.25)]
)
def test_a_warm_up_comes_before_the_cosine(step, rate):
    schedule = learning_rate(config(num_steps=110, warmup_steps=10))
    assert schedule(step) == pytest.approx(rate, abs=1e-6)


def test_the_final_share_can_be_changed():
    assert learning_rate(config(final_fraction=0.0))(100) == pytest.approx(0, abs=1e-7)
    assert learning_rate(config(final_fraction=1.0))(70) == pytest.approx(1)


def test_the_rate_is_scaled_by_the_peak():
    schedule = learning_rate(config(learning_rate=2e-5))
    np.testing.assert_allclose([schedule(0), schedule(100)], [2e-5, 5e-6], rtol=1e-6)


PARAMS = {
    "dense": {
        "kernel": np.array([[2.0]], np.float32),
        "bias": np.array([2.0], np.float32),
    },
    "norm": {"scale": np.array([2.0], np.float32)},
    "embedding": {"embedding": np.array([[2.0]], np.float32)},
}


def update(optimizer, *gradients):
    """The parameters after updates, and what each update added."""
    params, state, updates = PARAMS, optimizer.init(PARAMS), []
    for gradient in gradients:
        gradient = jax.tree.map(
            lambda value, g=gradient: jnp.full_like(value, g), params
        )
        added, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, added)
        updates.append(added)
    return params, updates


def test_only_matrices_decay():
    # Without a gradient Adam stands still; a matrix loses 0.1 * 0.05 of itself.
    params, _ = update(adamw(config(learning_rate=0.1, weight_decay=0.05)), 0.0)
    assert params["dense"]["kernel"] == pytest.approx(2 - 0.1 * 0.05 * 2)
    assert params["embedding"]["embedding"] == pytest.approx(2 - 0.1 * 0.05 * 2)
    assert params["dense"]["bias"] == params["norm"]["scale"] == 2


def test_of_a_model_the_kernels_and_the_embedding_decay(vision_model):
    flags = jax.tree_util.tree_leaves_with_path(decays(vision_model.params))
    names = {True: set(), False: set()}
    for path, decaying in flags:
        names[decaying].add(path[-1].key)
    assert names[True] == {"kernel", "embedding"}
    assert names[False] >= {"bias", "scale", "class_token", "attention_scale"}


def test_the_first_step_is_the_rate_along_the_sign():
    # The moments' bias corrections make it g / |g|.
    for gradient in (3.0, -0.02):
        _, [first] = update(
            adamw(config(learning_rate=0.1, weight_decay=0.0)), gradient
        )
        for added in jax.tree.leaves(first):
            assert added == pytest.approx(-0.1 * np.sign(gradient), rel=1e-4)


def test_gradients_are_clipped_by_their_global_norm():
    # Four entries of 5 have norm 10 and are scaled to 0.5 each; of 0.1 they stay.
    _, clipped = update(adamw(config()), 5.0, 0.1)
    _, scaled = update(adamw(config(clip_norm=None)), 0.5, 0.1)
    _, unclipped = update(adamw(config(clip_norm=None)), 5.0, 0.1)
    for one, other in zip(*map(jax.tree.leaves, (clipped, scaled)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    # Adam forgets the scale of a first step alone, not of the second beside it.
    assert abs(unclipped[1]["dense"]["bias"][0]) < 0.9 * abs(
        clipped[1]["dense"]["bias"][0]
    )


def kernel_update(gradient, **changes):
    """What Muon adds to one layer's kernel of zeros."""
    params = {"layers": {"up": {"kernel": np.zeros((1, *gradient.shape), np.float32)}}}
    optimizer = muon(config(learning_rate=0.1, **changes))
    state = optimizer.init(params)
    gradients = {"layers": {"up": {"kernel": jnp.asarray(gradient[None])}}}
    added, _ = optimizer.update(gradients, state, params)
    return np.asarray(added["layers"]["up"]["kernel"][0])


def random_gradient(shape, singular_values, seed=0):
    """A matrix with these singular values; and the same with all of them one."""
    rng = np.random.default_rng(seed)
    u, _, v = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    return ((u * singular_values) @ v).astype(np.float32), u @ v


@pytest.mark.parametrize("shape", [(6, 6), (4, 12), (12, 4)])
def test_muon_steps_as_far_in_every_direction(shape):
    values = np.geomspace(1.0, 0.05, min(shape))
    gradient, orthogonal = random_gradient(shape, values)
    # -η 0.2 sqrt(max(n, m)); five steps bring singular values to between 0.7 and 1.2.
    step = kernel_update(gradient) / (-0.1 * 0.2 * max(shape) ** 0.5)
    found = np.linalg.svd(step, compute_uv=False)
    assert 0.65 < found.min() <= found.max() < 1.25
    alignment = np.sum(step * orthogonal) / np.linalg.norm(step)
    assert alignment / np.linalg.norm(orthogonal) > 0.98


def test_muon_knows_no_scale_of_the_gradient():
    gradient, _ = random_gradient((5, 8), np.linspace(1, 0.2, 5))
    np.testing.assert_allclose(
        kernel_update(gradient), kernel_update(1000 * gradient), atol=1e-5
    )


def test_muons_update_is_of_adamws_size():
    # Of a full-rank square matrix, AdamW's first update is η in every entry; Muon's
    # has the root mean square 0.2 η, AdamW's usual one, whatever the shape.
    for shape in ((16, 16), (8, 32), (32, 8)):
        gradient, _ = random_gradient(shape, np.ones(min(shape)))
        size = np.sqrt(np.mean(kernel_update(gradient) ** 2))
        assert size == pytest.approx(0.1 * 0.2, rel=0.35)


def test_muon_turns_the_layers_kernels_and_nothing_else(vision_model):
    chosen = layer_kernels(vision_model.params)
    flags = jax.tree_util.tree_leaves_with_path(
        jax.tree.map(
            lambda dimensions: dimensions is not None,
            chosen,
            is_leaf=lambda x: not isinstance(x, dict),
        )
    )
    turned = {tuple(key.key for key in path) for path, flag in flags if flag}
    assert turned
    assert {path[-1] for path in turned} == {"kernel"}
    assert {path[0] for path in turned} == {"decoder", "vision"}
    assert not any("lm_head" in path or "projector" in path for path in turned)
    shapes = {path: leaf.ndim for path, leaf in _leaves(vision_model.params)}
    assert {shapes[path] for path in turned} == {3}  # layer, in, out


def _leaves(params):
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        yield tuple(key.key for key in path), leaf


def test_beside_muon_the_rest_moves_like_adam_and_does_not_decay():
    params, _ = update(muon(config(learning_rate=0.1, weight_decay=0.5)), 3.0)
    # With Nesterov's look ahead, of a first gradient g Adam's mean is
    # 0.9 * 0.1 g / (1 - 0.81) + 0.1 g / (1 - 0.9) = (9 / 19 + 1) g, so η 28 / 19.
    for part, name in (("embedding", "embedding"), ("dense", "bias")):
        assert params[part][name] == pytest.approx(2 - 0.1 * 28 / 19, rel=1e-5)
    still, _ = update(muon(config(learning_rate=0.1, weight_decay=0.5)), 0.0)
    jax.tree.map(np.testing.assert_array_equal, still, PARAMS)


def test_a_configuration_names_its_optimizer():
    gradient = jax.tree.map(lambda value: jnp.full_like(value, 0.3), PARAMS)
    made_by = {"adamw": adamw, "muon": muon, "adafactor": adafactor}
    for name, made in made_by.items():
        settings = config(algorithm=name)
        expected, chosen = made(settings), make_optimizer(settings)
        updates = [
            optimizer.update(gradient, optimizer.init(PARAMS), PARAMS)[0]
            for optimizer in (expected, chosen)
        ]
        jax.tree.map(np.testing.assert_array_equal, *updates)
    with pytest.raises(
        ValueError, match="algorithm: expected adamw, muon or adafactor"
    ):
        config(algorithm="sgd")
    for algorithm in ("muon", "adafactor"):
        with pytest.raises(ValueError, match=f"int8 of adamw, got int8 of {algorithm}"):
            config(algorithm=algorithm, state="int8")


def test_adafactor_keeps_a_row_and_a_column_of_each_matrix():
    params = {"layers": {"up": {"kernel": jnp.ones((2, 128, 192))}}}
    state = adafactor(config(clip_norm=None)).init(params)
    # A mean for each input and each output of the two layers; beside a placeholder of
    # one number and the counts of the update and of the schedule.
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2 * (128 + 192) + 1 + 2


def test_adafactor_moves_and_decays_as_adamw_does():
    # In the first update √V is |g|; every entry moves by 0.2 of the rate, AdamW's usual
    # root mean square, along the sign.
    settings = {"learning_rate": 0.1, "weight_decay": 0.0}
    _, [first] = update(adafactor(config(**settings)), -0.02)
    for added in jax.tree.leaves(first):
        assert added == pytest.approx(0.1 * 0.2, rel=1e-3)
    # Of a matrix of rank one, the factors are all there is to its squares.
    rng = np.random.default_rng(0)
    outer = np.outer(*rng.uniform(0.1, 1, (2, 128))).astype(np.float32)
    params = {"kernel": jnp.zeros((128, 128))}
    optimizer = adafactor(config(clip_norm=None, **settings))
    added, _ = optimizer.update({"kernel": outer}, optimizer.init(params), params)
    np.testing.assert_allclose(added["kernel"], -0.1 * 0.2, rtol=1e-3)
    # A layer whose gradient jumps does not make the update of all of them larger.
    gradient = rng.normal(size=(3, 128, 128)).astype(np.float32)
    state = optimizer.init({"kernel": gradient})
    _, state = optimizer.update({"kernel": gradient}, state, {"kernel": gradient})
    gradient[1] *= 30
    added, _ = optimizer.update({"kernel": gradient}, state, {"kernel": gradient})
    size = np.sqrt(np.mean(np.square(added["kernel"])))
    assert 0.1 * 0.2 * 0.95 < size < 0.1 * 0.2 * 1.001
    # A matrix loses 0.1 * 0.05 of itself, as with AdamW; optax's own decay is rateless.
    decayed, _ = update(adafactor(config(learning_rate=0.1, weight_decay=0.05)), 0.0)
    assert decayed["dense"]["kernel"] == pytest.approx(2 - 0.1 * 0.05 * 2)
    assert decayed["dense"]["bias"] == 2


def test_adapters_decay():
    adapters = {"adapters": {"up": {"a": np.ones((1, 2, 3)), "b": np.ones((1, 3, 2))}}}
    assert all(jax.tree.leaves(decays(adapters)))


def test_equal_settings_are_one_object_and_so_one_program():
    assert make_optimizer(config()) is make_optimizer(config())
    assert make_optimizer(config()) is not make_optimizer(config(num_steps=101))
