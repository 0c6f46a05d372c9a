"""Checkpoints: what is restored is what was saved, or a clear refusal."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.config import OptimizerConfig
from sophia_jax.data.packing import pack_examples
from sophia_jax.models.internvl import abstract_params, model_graph
from sophia_jax.training.checkpoint import Checkpoints
from sophia_jax.training.optimizer import adamw
from sophia_jax.training.step import init_state, train_step
from sophia_jax.types import InputError

BASE = "of the model that training began with"
OPTIMIZER = adamw(OptimizerConfig(num_steps=10, learning_rate=1e-2))


@pytest.fixture
def new_state(text_model):
    return init_state(text_model, OPTIMIZER)


@pytest.fixture
def batch(text_model, text_examples):
    return pack_examples(text_examples[:4], text_model.config, row_length=32)


def save(folder, *saved, **options):
    checkpoints = Checkpoints(folder, base=BASE, **options)
    for step, state, data in saved:
        checkpoints.save(step, state, data)
    checkpoints.close()


def restore(folder, state):
    checkpoints = Checkpoints(folder, base=BASE)
    try:
        return checkpoints.restore(state)
    finally:
        checkpoints.close()


def arrays(state):
    return jax.device_get(jax.tree.leaves(state))


def assert_same(one, other):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_an_empty_folder_holds_no_checkpoint(tmp_path, new_state):
    assert restore(tmp_path / "new", new_state) is None


def test_state_and_data_position_come_back_as_they_were(
    tmp_path, text_model, new_state, batch
):
    state, _ = train_step(new_state, batch)
    save(tmp_path, (1, state, {"next_index": 7}))
    restored, data = restore(tmp_path, init_state(text_model, OPTIMIZER))
    assert data == {"next_index": 7}
    assert int(restored.step) == 1
    assert_same(arrays(restored), arrays(state))
    assert jax.tree.structure(restored) == jax.tree.structure(state)


def test_updates_that_follow_do_not_reach_into_a_checkpoint(
    tmp_path, text_model, new_state, batch
):
    state, _ = train_step(new_state, batch)
    expected = [np.array(leaf) for leaf in jax.tree.leaves(state)]
    checkpoints = Checkpoints(tmp_path, base=BASE)
    checkpoints.save(1, state, {})
    for _ in range(5):  # each donates the state that is being written
        state, _ = train_step(state, batch)
    checkpoints.close()
    restored, _ = restore(tmp_path, init_state(text_model, OPTIMIZER))
    assert_same(arrays(restored), expected)


def test_a_restored_state_goes_on_like_the_saved_one(
    tmp_path, text_model, new_state, batch
):
    state, _ = train_step(new_state, batch)
    save(tmp_path, (1, state, {}))
    restored, _ = restore(tmp_path, init_state(text_model, OPTIMIZER))
    one, metrics = train_step(state, batch)
    other, same = train_step(restored, batch)
    assert_same(arrays(one), arrays(other))
    assert_same(arrays(metrics), arrays(same))


def test_the_newest_checkpoints_stay(tmp_path, new_state):
    saved = [(step, new_state, {"next_index": step}) for step in (2, 4, 6)]
    save(tmp_path, *saved, max_to_keep=2)
    _, data = restore(tmp_path, new_state)
    assert data == {"next_index": 6}
    assert not (tmp_path / "2").exists()


def test_a_checkpoint_that_was_not_finished_is_passed_over(tmp_path, new_state):
    save(tmp_path, (2, new_state, {"next_index": 2}))
    unfinished = tmp_path / "4.orbax-checkpoint-tmp"
    (unfinished / "state").mkdir(parents=True)
    _, data = restore(tmp_path, new_state)
    assert data == {"next_index": 2}


def test_a_checkpoint_of_another_model_is_refused_with_all_differences(
    tmp_path, text_model, new_state
):
    save(tmp_path, (3, new_state, {}))
    text = dataclasses.replace(text_model.config.text, mlp_size=64, tied_head=True)
    config = dataclasses.replace(text_model.config, text=text)
    params = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract_params(config)
    )
    other = dataclasses.replace(
        text_model, config=config, graphdef=model_graph(config), params=params
    )
    with pytest.raises(InputError) as caught:
        restore(tmp_path, init_state(other, OPTIMIZER))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / '3'}: expected a checkpoint of this model")
    assert "\n" not in message
    layers = "learnt/decoder/layers"
    for difference in (
        f"{layers}/up/kernel float32[2, 32, 64], got float32[2, 32, 48]",
        f"{layers}/down/kernel float32[2, 64, 32], got float32[2, 48, 32]",
        "learnt/decoder/lm_head/kernel nothing, got float32[32, 279]",
    ):
        assert difference in message
    assert "embedding" not in message  # is of the same shape


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path, text_model, new_state):
    save(tmp_path, (3, new_state, {}))
    unclipped = adamw(OptimizerConfig(num_steps=10, clip_norm=None))
    with pytest.raises(InputError, match="expected a checkpoint of this model and opt"):
        restore(tmp_path, init_state(text_model, unclipped))
