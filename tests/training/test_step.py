"""One update: the right gradient, of the parts that learn alone."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from sophia_jax.data.packing import Example, pack_examples, pack_parts
from sophia_jax.models.internvl import InternVL
from sophia_jax.training.step import (
    init_state,
    lower_train_step,
    policy_log_probs,
    train_step,
    update_learning,
)

ALL_PARTS = ("decoder", "vision", "projector")
DESCENT = optax.sgd(1.0)  # an update is minus the gradient


@pytest.fixture(scope="module")
def pack(vision_model):
    return functools.partial(pack_examples, config=vision_model.config, row_length=32)


@pytest.fixture(scope="module")
def log_probs(vision_model):
    jitted = jax.jit(policy_log_probs, static_argnums=0, static_argnames="remat")

    def log_probs(params, batch, **options):
        return np.asarray(jitted(vision_model.graphdef, params, batch, **options))

    return log_probs


@pytest.fixture(scope="module")
def update(vision_model):
    """Parameters, what an update took from them, and its metrics."""

    def update(batch, **options):
        state, metrics = train_step(init_state(vision_model, DESCENT, **options), batch)
        gradient = jax.tree.map(
            lambda old, new: np.asarray(old, np.float64) - np.asarray(new, np.float64),
            vision_model.params,
            state.params,
        )
        return state, gradient, jax.device_get(metrics)

    return update


def sophia_losses(log_probs, batch):
    """By hand, in float64: -R_b times the sum of the log-probabilities."""
    kept = np.where(batch.target_mask, log_probs.astype(np.float64), 0)
    return -batch.reward * kept.sum(axis=1)


def test_metrics_are_what_they_say(
    pack, picture_examples, log_probs, update, vision_model
):
    batch = pack(picture_examples)
    before = log_probs(vision_model.params, batch)
    _, gradient, metrics = update(batch)
    # The sequence without reward counts in the mean.
    assert metrics["loss"] == pytest.approx(sophia_losses(before, batch).sum() / 4)
    assert metrics["mean_log_prob"] == pytest.approx(before[batch.target_mask].mean())
    assert metrics["tokens"] == sum(len(e.target_ids) for e in picture_examples)
    real = sum(e.length for e in picture_examples)
    assert metrics["fill"] == pytest.approx(real / batch.token_ids.size)
    squares = sum(np.sum(leaf**2) for leaf in jax.tree.leaves(gradient))
    assert metrics["gradient_norm"] == pytest.approx(np.sqrt(squares), rel=1e-4)


def test_the_gradient_is_that_of_finite_differences(
    pack, picture_examples, log_probs, update, vision_model
):
    batch = pack(picture_examples)
    _, gradient, _ = update(batch, trainable=ALL_PARTS)

    def loss(path, index, change):
        def moved(at, leaf):
            return leaf.at[index].add(change) if at == path else leaf

        params = jax.tree_util.tree_map_with_path(moved, vision_model.params)
        return sophia_losses(log_probs(params, batch), batch).mean()

    # In each part, the steepest coordinate of the largest leaves; a step of 0.01 moves
    # the loss by far more than float32 rounds it.
    for part in ALL_PARTS:
        leaves = [
            (np.abs(leaf).max(), path, leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
            if path[0].key == part
        ]
        for steepest, path, leaf in sorted(leaves, key=lambda x: -x[0])[:3]:
            index = np.unravel_index(np.abs(leaf).argmax(), leaf.shape)
            step = 0.01
            slope = (loss(path, index, step) - loss(path, index, -step)) / (2 * step)
            assert slope == pytest.approx(leaf[index], rel=0.02)
            assert steepest > 0.01


def test_a_sequence_without_reward_gives_no_gradient(pack, picture_examples, update):
    batch = pack(picture_examples)
    other = dataclasses.replace(
        picture_examples[2], target_ids=picture_examples[2].target_ids[::-1] + 1
    )
    _, gradient, _ = update(batch)
    changed = pack([*picture_examples[:2], other, picture_examples[3]])
    assert np.any(changed.target_ids != batch.target_ids)
    _, same, _ = update(changed)
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two, atol=1e-6), gradient, same
    )


def test_without_any_reward_nothing_changes(
    pack, picture_examples, update, vision_model
):
    nothing = [dataclasses.replace(e, reward=0.0) for e in picture_examples]
    state, _, metrics = update(pack(nothing))
    assert metrics["loss"] == metrics["gradient_norm"] == 0
    jax.tree.map(np.testing.assert_array_equal, state.params, vision_model.params)


def test_tower_and_projector_stay_bit_identical(
    pack, picture_examples, update, vision_model
):
    state, gradient, _ = update(pack(picture_examples))
    for part in ("vision", "projector"):
        jax.tree.map(
            np.testing.assert_array_equal, state.params[part], vision_model.params[part]
        )
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient["decoder"]))
    adam = init_state(vision_model, optax.adam(1.0))
    assert set(adam.opt_state[0].mu) == {"decoder"}


def test_no_gradient_of_frozen_parts_is_computed(
    monkeypatch, pack, picture_examples, vision_model
):
    @jax.custom_jvp
    def watched(features):
        return features

    @watched.defjvp
    def differentiated(primals, tangents):
        raise AssertionError("the features are differentiated")

    encode = InternVL.encode_images
    monkeypatch.setattr(
        InternVL,
        "encode_images",
        lambda self, tiles, **options: watched(encode(self, tiles, **options)),
    )
    batch = pack(picture_examples)

    def step(state, batch):
        update_learning.clear_cache()  # so that it is traced anew
        return jax.eval_shape(train_step, state, batch)

    step(init_state(vision_model, DESCENT), batch)
    everything = init_state(vision_model, DESCENT, trainable=ALL_PARTS)
    with pytest.raises(AssertionError, match="the features are differentiated"):
        step(everything, batch)


@pytest.mark.parametrize("remat", ["none", "projections", "block"])
def test_nothing_of_a_frozen_tower_is_held(
    pack, picture_examples, vision_model, remat, capsys
):
    batch, params = pack(picture_examples), vision_model.params

    def held(trainable):
        """Arrays that the backward pass keeps of the tower's."""

        def forward(learnt):
            return policy_log_probs(
                vision_model.graphdef, params | learnt, batch, remat=remat
            )

        learnt = {part: params[part] for part in trainable}
        jax.ad_checkpoint.print_saved_residuals(forward, learnt)
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if "vision.py" in line]

    assert held(("decoder",)) == []
    assert held(("decoder", "vision")) != []


def test_all_parts_learn_when_asked(pack, picture_examples, update):
    _, gradient, _ = update(pack(picture_examples), trainable=ALL_PARTS)
    for part in ALL_PARTS:
        assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient[part]))


def test_the_state_is_donated_and_the_model_is_not(
    pack, picture_examples, vision_model
):
    state = init_state(vision_model, DESCENT)
    new, _ = train_step(state, pack(picture_examples))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params["decoder"]))
    for part in ("vision", "projector"):  # frozen: shared, not copied
        one, other = (jax.tree.leaves(m.params[part]) for m in (new, vision_model))
        assert all(leaf is same for leaf, same in zip(one, other, strict=True))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(vision_model.params))
    assert (int(new.step), int(init_state(vision_model, DESCENT).step)) == (1, 0)


def test_updates_lower_the_loss_of_their_batch(pack, picture_examples, vision_model):
    batch = pack(picture_examples)
    state, losses = init_state(vision_model, optax.adam(1e-2)), []
    for _ in range(4):
        state, metrics = train_step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_batches_of_one_shape_share_a_program(pack, picture_examples, vision_model):
    state = init_state(vision_model, DESCENT)
    state, _ = train_step(state, pack(picture_examples))
    compiled = update_learning._cache_size()
    reordered = pack(picture_examples[::-1])
    state, _ = train_step(state, reordered)
    train_step(init_state(vision_model, DESCENT), reordered)
    assert update_learning._cache_size() == compiled


def test_features_stand_for_their_pixels(
    pack, picture_examples, log_probs, vision_model
):
    tower = nnx.merge(vision_model.graphdef, vision_model.params)
    features = jax.jit(tower.encode_images)(
        np.concatenate([example.images for example in picture_examples])
    )
    with_features = [
        dataclasses.replace(example, images=np.asarray(features[n : n + 1]))
        for n, example in enumerate(picture_examples)
    ]
    np.testing.assert_allclose(
        log_probs(vision_model.params, pack(with_features)),
        log_probs(vision_model.params, pack(picture_examples)),
        atol=1e-4,
    )


def test_recomputed_activations_change_nothing(
    pack, picture_examples, update, vision_model
):
    batch = pack(picture_examples)
    _, gradient, metrics = update(batch, trainable=ALL_PARTS)
    _, recomputed, same = update(batch, remat="projections", trainable=ALL_PARTS)
    assert metrics["loss"] == pytest.approx(same["loss"], rel=1e-6)
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two, atol=1e-5),
        gradient,
        recomputed,
    )


@pytest.mark.parametrize("num_parts", [1, 2, 3, 4])
def test_an_update_in_parts_is_the_update_of_the_whole(
    pack, picture_examples, update, vision_model, num_parts
):
    # Three parts of four: their sequences differ in number, so that a mean of their
    # means would be another loss.
    parts = pack_parts(
        picture_examples, vision_model.config, num_parts=num_parts, row_length=32
    )
    assert len(parts.token_ids) == num_parts
    _, gradient, metrics = update(pack(picture_examples), trainable=ALL_PARTS)
    _, summed, same = update(parts, trainable=ALL_PARTS)
    for name in ("loss", "mean_log_prob", "gradient_norm", "tokens"):
        assert metrics[name] == pytest.approx(same[name], rel=1e-5)
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two, atol=1e-5),
        gradient,
        summed,
    )


@pytest.fixture(scope="module")
def many_examples():
    rng = np.random.default_rng(2)
    return [
        Example(*(rng.integers(9, 250, size).astype(np.int32) for size in (20, 44)))
        for _ in range(64)
    ]


def memory(model, batch):
    state = init_state(model, optax.adam(1e-3))
    return lower_train_step(state, batch).compile().memory_analysis(), state


def test_activations_are_held_for_one_part(text_model, many_examples):
    whole, _ = memory(
        text_model, pack_examples(many_examples, text_model.config, row_length=256)
    )
    parts, _ = memory(
        text_model,
        pack_parts(many_examples, text_model.config, num_parts=8, row_length=256),
    )
    assert parts.temp_size_in_bytes < whole.temp_size_in_bytes / 3


def test_the_new_state_stands_where_the_old_one_stood(text_model, many_examples):
    batch = pack_parts(many_examples, text_model.config, num_parts=2, row_length=256)
    analysis, state = memory(text_model, batch)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert analysis.alias_size_in_bytes >= held


def test_an_unknown_part_is_refused(text_model):
    with pytest.raises(ValueError, match=r"parts of \['decoder'\], got \['vision'\]"):
        init_state(text_model, DESCENT, trainable=("decoder", "vision"))
