"""Checkpoints: what is restored is what was saved, or a clear refusal."""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sophia_jax.config import OptimizerConfig
from sophia_jax.data.packing import pack_examples
from sophia_jax.models.internvl import abstract_params, model_graph
from sophia_jax.training import retention
from sophia_jax.training.checkpoint import Checkpoints
from sophia_jax.training.fingerprint import fingerprint
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


def test_frozen_parts_are_not_written(tmp_path, vision_model):
    state = init_state(vision_model, OPTIMIZER)
    save(tmp_path, (1, state, {}))
    checkpointer = ocp.StandardCheckpointer()
    stored = checkpointer.metadata(tmp_path / "1" / "state").item_metadata.tree
    checkpointer.close()
    assert stored["learnt"].keys() == {"decoder"}
    assert stored.keys() == {"learnt", "opt_state", "step"}
    restored, _ = restore(tmp_path, state)
    assert_same(arrays(restored), arrays(state))


def test_a_checkpoint_that_began_with_another_model_is_refused(tmp_path, new_state):
    save(tmp_path, (3, new_state, {}))
    checkpoints = Checkpoints(tmp_path, base="other")
    with pytest.raises(InputError, match=r"3: expected .* of the model that is given"):
        checkpoints.restore(new_state)
    checkpoints.close()


@pytest.mark.parametrize(
    "metric, best", [("loss", 2), ("mean_log_prob", 3), (None, None)]
)
def test_the_best_checkpoint_stays_beside_the_newest(tmp_path, metric, best):
    kept = retention.Kept(tmp_path, 1, metric)
    for step, loss, log_prob in [(1, 3, -3), (2, 1, -2), (3, 2, -1), (4, 4, -2)]:
        kept.metrics[step] = {"loss": loss, "mean_log_prob": log_prob}
    steps = [SimpleNamespace(step=step) for step in (1, 2, 3, 4)]
    stay = [step in (best, 4) for step in (1, 2, 3, 4)]
    assert kept.should_preserve(steps, context=None) == stay


def test_what_was_best_is_known_to_a_run_that_goes_on(tmp_path, new_state):
    options = {"base": BASE, "max_to_keep": 1, "keep_best": "loss"}
    for first, losses in [(1, [3.0, 1.0]), (3, [2.0, 5.0])]:
        checkpoints = Checkpoints(tmp_path, **options)
        for step, loss in enumerate(losses, first):
            checkpoints.save(step, new_state, {}, {"loss": loss})
        checkpoints.close()
    assert {path.name for path in tmp_path.iterdir()} == {"2", "4"}
    assert checkpoints.best_step() == 2


@pytest.mark.parametrize(
    "option, message",
    [
        ({"max_to_keep": 0}, "max_to_keep: expected >= 1, got 0"),
        ({"keep_best": "tokens"}, "keep_best: expected one of .*'loss'.*, got tokens"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path, base=BASE, **option)


def truncate(folder):
    path = folder / "metadata" / "metadata"
    path.write_text(path.read_text()[:20])


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def lose_data(folder):
    (folder / "data" / "metadata").unlink()


def cut_weights(folder):
    path = folder / "state" / "manifest.ocdbt"
    path.write_bytes(path.read_bytes()[:50])


def change_a_bit(folder):
    """Within the weights, where nothing but their fingerprint tells."""
    path = max((folder / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# Orbax leaves other reads to themselves when one fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "damage", [truncate, empty, lose_data, cut_weights, change_a_bit]
)
def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path, new_state, damage):
    save(tmp_path, *((step, new_state, {"next_index": step}) for step in (4, 8)))
    damage(tmp_path / "8")
    checkpoints = Checkpoints(tmp_path, base=BASE)
    with pytest.warns(UserWarning, match=f"{tmp_path / '8'}: expected a whole") as told:
        _, data = checkpoints.restore(new_state)
    assert "set aside as damaged-8, and the run goes on from the one" in str(told[0])
    assert data == {"next_index": 4}
    checkpoints.save(6, new_state, {"next_index": 6})
    checkpoints.save(8, new_state, {"next_index": 8})
    checkpoints.close()
    assert {path.name for path in tmp_path.iterdir()} == {"6", "8", "damaged-8"}
    assert restore(tmp_path, new_state)[1] == {"next_index": 8}


def test_damage_alone_does_not_begin_anew(tmp_path, new_state):
    save(tmp_path, (4, new_state, {}), (8, new_state, {}))
    truncate(tmp_path / "4")
    lose_data(tmp_path / "8")
    with pytest.raises(InputError) as caught:
        restore(tmp_path, new_state)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: expected a whole checkpoint, got damaged")
    assert "8: FileNotFoundError" in message
    assert "4: JSONDecodeError" in message
    assert (tmp_path / "8").exists()


def test_a_checkpoint_comes_back_on_another_mesh(tmp_path, new_state):
    mesh = jax.make_mesh((2,), ("devices",), axis_types=(AxisType.Auto,))
    cut = NamedSharding(mesh, PartitionSpec("devices"))
    whole = NamedSharding(mesh, PartitionSpec())
    over_two = jax.tree.map(
        lambda x: jax.device_put(x, cut if x.ndim and x.shape[0] % 2 == 0 else whole),
        new_state,
    )
    for number, (saved, wanted) in enumerate(
        [(new_state, over_two), (over_two, new_state)]
    ):
        save(tmp_path / str(number), (1, saved, {}))
        restored, _ = restore(tmp_path / str(number), wanted)
        assert_same(arrays(restored), arrays(new_state))
        assert all(
            ours.sharding.is_equivalent_to(theirs.sharding, ours.ndim)
            for ours, theirs in zip(
                *map(jax.tree.leaves, (restored, wanted)), strict=True
            )
        )
    assert fingerprint(over_two.params) == fingerprint(new_state.params)


def test_a_fingerprint_tells_names_shapes_dtypes_places_and_bits():
    rng = np.random.default_rng(0)
    array = jnp.array(rng.normal(size=(6, 4)), jnp.float32)
    others = [
        {"b": array},
        {"a": array.reshape(4, 6)},
        {"a": array.astype(jnp.bfloat16)},
        {"a": array[::-1]},
        {"a": array[:, ::-1]},
        {"a": array.at[3, 2].set(jnp.nextafter(array[3, 2], jnp.inf))},
        {"a": array.at[3, 2].set(-array[3, 2])},
        {"a": array, "b": jnp.zeros(0)},
    ]
    found = [fingerprint(tree) for tree in [{"a": array}, *others]]
    assert len(set(found)) == len(found)
    assert fingerprint({"a": array + 0}) == found[0]


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


def test_trainings_side_by_side_each_keep_their_own_checkpoints(tmp_path, new_state):
    def save_all(name):
        saved = [(step, new_state, {"next_index": step}) for step in range(1, 9)]
        save(tmp_path / name, *saved)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save_all, ("one", "other")))
    for name in ("one", "other"):
        assert restore(tmp_path / name, new_state)[1] == {"next_index": 8}
        kept = sorted(path.name for path in (tmp_path / name).iterdir())
        assert kept == ["7", "8"]
