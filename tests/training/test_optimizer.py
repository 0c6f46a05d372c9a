"""AdamW, its schedule, and what decays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sophia_jax.config import OptimizerConfig
from sophia_jax.training.optimizer import adamw, decays, learning_rate


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
    "dense": {"kernel": np.array([[2.0]]), "bias": np.array([2.0])},
    "norm": {"scale": np.array([2.0])},
    "embedding": {"embedding": np.array([[2.0]])},
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
