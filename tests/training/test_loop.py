"""The training loop: every example in its turn, and kills that leave no trace."""

import dataclasses
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.config import OptimizerConfig
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.preemption import Preempted, watch_signals
from sophia_jax.training import loop, objectives
from sophia_jax.training.checkpoint import Checkpoints
from sophia_jax.training.fingerprint import fingerprint
from sophia_jax.training.loop import TrainingConfig, train
from sophia_jax.training.metrics import read_metrics
from sophia_jax.training.optimizer import adamw
from sophia_jax.training.step import init_state
from sophia_jax.types import InputError

SIZES = ("batch_size", "row_length", "checkpoint_every", "keep_checkpoints")
SCRIPT = Path(__file__).parent / "killed_training.py"


def config(num_steps=8, **changes):
    optimizer = OptimizerConfig(num_steps=num_steps, learning_rate=1e-2)
    settings = {"batch_size": 4, "row_length": 32, "checkpoint_every": 3} | changes
    return TrainingConfig(optimizer, **settings)


class Killed(Exception):
    pass


def killed_at(update):
    """The track of a run that dies before an update."""

    def track(iterable, description, total):
        for step in iterable:
            if step == update:
                raise Killed
            yield step

    return track


@pytest.fixture
def seen(monkeypatch):
    """The rewards in every batch that an update was made on: they name the examples."""
    batches = []
    step = loop.train_step

    def spy(state, batch):
        batches.append((16 * batch.reward).tolist())
        return step(state, batch)

    monkeypatch.setattr(loop, "train_step", spy)
    return batches


@pytest.fixture(scope="module")
def undisturbed(text_model, text_examples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(text_model, text_examples, objectives.sophia, config(), folder), folder


def assert_same_weights(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def lines(folder):
    return (folder / "metrics.jsonl").read_bytes()


def test_the_given_model_is_left_as_it_is(text_model, text_examples, tmp_path):
    before = jax.tree.map(np.array, text_model.params)
    trained = train(text_model, text_examples, objectives.sophia, config(), tmp_path)
    jax.tree.map(np.testing.assert_array_equal, text_model.params, before)
    kernels = [m.params["decoder"]["lm_head"]["kernel"] for m in (trained, text_model)]
    assert np.any(kernels[0] != kernels[1])
    assert trained.config == text_model.config


def test_every_update_leaves_its_metrics(undisturbed):
    rows = read_metrics(undisturbed[1] / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(8))
    names = {
        "step",
        "loss",
        "mean_log_prob",
        "gradient_norm",
        "tokens",
        "fill",
        "learning_rate",
    }
    assert all(set(row) == names for row in rows)
    # The first update has the peak rate, the last the one before the final quarter.
    assert rows[0]["learning_rate"] == pytest.approx(1e-2)
    last = 0.25 + 0.75 * (1 + np.cos(np.pi * 7 / 8)) / 2
    assert rows[7]["learning_rate"] == pytest.approx(last * 1e-2)
    assert rows[7]["loss"] < rows[0]["loss"]
    assert all(0.5 < row["fill"] <= 1 for row in rows)


def test_an_epoch_shows_every_example_once_and_the_next_in_another_order(
    text_model, text_examples, tmp_path, seen
):
    train(text_model, text_examples, objectives.sophia, config(), tmp_path)
    first, second = np.ravel(seen[:3]).tolist(), np.ravel(seen[3:6]).tolist()
    assert sorted(first) == sorted(second) == list(range(1, 13))
    assert first != second


@pytest.mark.parametrize("size", [1, 5])
def test_batches_of_any_size_go_through_the_examples(
    text_model, text_examples, tmp_path, seen, size
):
    # Of one, too; and of a size that divides no epoch: the next epoch fills the batch.
    settings = config(num_steps=5, batch_size=size)
    train(text_model, text_examples, objectives.sophia, settings, tmp_path)
    assert {len(batch) for batch in seen} == {size}
    shown = np.ravel(seen).tolist()
    assert len(shown) == 5 * size
    assert len(set(shown[:12])) == min(12, 5 * size)


def test_the_seed_decides_the_order(text_model, text_examples, tmp_path, seen):
    orders = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        settings = config(seed=seed)
        train(text_model, text_examples, objectives.sophia, settings, tmp_path / name)
        orders.append(seen[:])
        seen.clear()
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("update", [1, 3, 5])
def test_a_run_that_died_ends_as_if_it_had_not(
    undisturbed, text_model, text_examples, tmp_path, update
):
    # Checkpoints lie behind updates 3 and 6: the run dies before, at and after one.
    run = (text_model, text_examples, objectives.sophia, config(), tmp_path)
    with pytest.raises(Killed):
        train(*run, track=killed_at(update))
    resumed = train(*run)
    assert_same_weights(resumed, undisturbed[0])
    assert lines(tmp_path) == lines(undisturbed[1])


def test_a_resumed_run_sees_what_it_had_not_seen(
    text_model, text_examples, tmp_path, seen
):
    train(
        text_model, text_examples, objectives.sophia, config(), tmp_path / "undisturbed"
    )
    expected = seen[:]
    seen.clear()
    run = (text_model, text_examples, objectives.sophia, config(), tmp_path / "killed")
    with pytest.raises(Killed):
        train(*run, track=killed_at(5))
    assert seen == expected[:5]
    seen.clear()
    train(*run)
    assert seen == expected[3:]  # updates 3 and 4 were lost with the run


@pytest.mark.parametrize("update, number", [(0, "SIGTERM"), (4, "SIGUSR1")])
def test_a_run_that_is_told_to_stop_saves_its_next_update(
    undisturbed, text_model, text_examples, tmp_path, update, number
):
    def signalled(iterable, description, total):
        for step in iterable:
            if step == update:
                os.kill(os.getpid(), getattr(signal, number))
            yield step

    run = (text_model, text_examples, objectives.sophia, config(), tmp_path)
    with watch_signals(), pytest.raises(Preempted, match=number):
        train(*run, track=signalled)
    assert (tmp_path / "checkpoints" / str(update + 1)).exists()
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == update + 1
    resumed = train(*run)
    assert_same_weights(resumed, undisturbed[0])
    assert lines(tmp_path) == lines(undisturbed[1])


def test_a_run_with_a_damaged_checkpoint_ends_as_if_it_were_whole(
    undisturbed, text_model, text_examples, tmp_path
):
    run = (text_model, text_examples, objectives.sophia, config(), tmp_path)
    with pytest.raises(Killed):
        train(*run, track=killed_at(7))
    (tmp_path / "checkpoints" / "6" / "metadata" / "metadata").write_text("{")
    with pytest.warns(UserWarning, match="damaged-6, and the run goes on"):
        resumed = train(*run)
    assert_same_weights(resumed, undisturbed[0])
    assert lines(tmp_path) == lines(undisturbed[1])


def test_a_run_killed_by_the_system_ends_as_if_it_had_not(text_model, tmp_path):
    spec = importlib.util.spec_from_file_location("killed_training", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    save_model(text_model, tmp_path / "model")
    killed = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "model", tmp_path / "killed", "5"],
        capture_output=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    model = load_model(tmp_path / "model")
    run = (model, script.examples(), objectives.sophia, script.config())
    resumed = train(*run, tmp_path / "killed")
    assert_same_weights(resumed, train(*run, tmp_path / "undisturbed"))
    assert lines(tmp_path / "killed") == lines(tmp_path / "undisturbed")


def test_a_finished_run_is_not_run_again(undisturbed, text_model, text_examples, seen):
    trained, folder = undisturbed
    before = lines(folder)
    again = train(text_model, text_examples, objectives.sophia, config(), folder)
    assert seen == []
    assert lines(folder) == before
    assert_same_weights(again, trained)


def test_progress_counts_the_updates_that_are_left(text_model, text_examples, tmp_path):
    shown = []

    def track(iterable, description, total):
        shown.append((list(iterable), description, total))
        return shown[-1][0]

    run = (text_model, text_examples, objectives.sophia, config(), tmp_path)
    with pytest.raises(Killed):
        train(*run, track=killed_at(7))
    train(*run, track=track, description="learning")
    assert shown == [([6, 7], "learning", 2)]


def test_a_loss_that_is_not_finite_stops_the_run_before_its_checkpoint(
    text_model, text_examples, tmp_path, seen
):
    train(text_model, text_examples, objectives.sophia, config(), tmp_path / "a")
    spoilt = seen[2][0]  # comes first in update 2
    examples = [
        dataclasses.replace(e, reward=np.inf) if round(16 * e.reward) == spoilt else e
        for e in text_examples
    ]
    settings = config(checkpoint_every=1)
    with pytest.raises(FloatingPointError, match=r"update 2: .* finite loss, got inf"):
        train(text_model, examples, objectives.sophia, settings, tmp_path / "b")
    base = fingerprint(text_model.params)
    checkpoints = Checkpoints(tmp_path / "b" / "checkpoints", base=base)
    state, _ = checkpoints.restore(init_state(text_model, adamw(settings.optimizer)))
    checkpoints.close()
    assert int(state.step) == 2
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state.params))
    assert [r["step"] for r in read_metrics(tmp_path / "b" / "metrics.jsonl")] == [0, 1]


def no_slope(log_probs, batch):
    """0, with a gradient of 0 / 0."""
    return jnp.sqrt(0 * jnp.sum(log_probs, axis=1))


def test_a_gradient_that_is_not_finite_stops_the_run(
    text_model, text_examples, tmp_path
):
    with pytest.raises(
        FloatingPointError, match=r"update 0: .* gradient_norm, got nan"
    ):
        train(text_model, text_examples, no_slope, config(), tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_model_is_shown_before_each_update_and_learns_the_same(
    undisturbed, text_model, text_examples, tmp_path
):
    shown = []

    def watch(step, model):
        shown.append((step, fingerprint(model.params)))

    options = {"watch": watch}
    trained = train(
        *(text_model, text_examples, objectives.sophia, config(), tmp_path), **options
    )
    assert_same_weights(trained, undisturbed[0])
    assert [step for step, _ in shown] == list(range(8))
    assert shown[0][1] == fingerprint(text_model.params)
    assert len({seen for _, seen in shown}) == 8


def test_elements_of_any_source_become_examples(
    undisturbed, text_model, text_examples, tmp_path
):
    trained = train(
        text_model,
        range(12),
        objectives.sophia,
        config(),
        tmp_path,
        make_example=text_examples.__getitem__,
    )
    assert_same_weights(trained, undisturbed[0])


def test_a_grain_data_set_keeps_its_own_order(
    text_model, text_examples, tmp_path, seen
):
    in_turn = grain.MapDataset.source(text_examples).repeat()
    train(text_model, in_turn, objectives.sophia, config(4), tmp_path)
    assert np.ravel(seen).tolist() == [*range(1, 13), *range(1, 5)]


def test_a_grain_data_set_must_last_for_the_phase(text_model, text_examples, tmp_path):
    once = grain.MapDataset.source(text_examples)
    with pytest.raises(ValueError, match="or 32 and more, got 12"):
        train(text_model, once, objectives.sophia, config(8), tmp_path)


def test_parts_of_an_update_end_with_the_weights_of_the_whole(
    undisturbed, text_model, text_examples, tmp_path
):
    settings = config(micro_batches=2)
    trained = train(text_model, text_examples, objectives.sophia, settings, tmp_path)
    jax.tree.map(
        lambda one, two: np.testing.assert_allclose(one, two, atol=2e-3),
        trained.params,
        undisturbed[0].params,
    )
    rows, whole = (
        read_metrics(folder / "metrics.jsonl") for folder in (tmp_path, undisturbed[1])
    )
    for name in ("loss", "mean_log_prob", "tokens"):
        ours, theirs = ([row[name] for row in each] for each in (rows, whole))
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_an_example_that_does_not_fit_stops_the_run(
    text_model, text_examples, tmp_path
):
    with pytest.raises(InputError, match="expected at most row_length=8 tokens"):
        train(
            text_model, text_examples, objectives.sophia, config(row_length=8), tmp_path
        )


def test_nothing_cannot_be_learnt(text_model, tmp_path):
    with pytest.raises(InputError, match="examples: expected at least one"):
        train(text_model, [], objectives.sophia, config(), tmp_path)


def test_a_phase_cannot_end_before_its_checkpoint(
    undisturbed, text_model, text_examples
):
    with pytest.raises(InputError, match="at least the checkpoint's 8 updates, got 5"):
        train(text_model, text_examples, objectives.sophia, config(5), undisturbed[1])


@pytest.mark.parametrize("field", SIZES)
def test_sizes_of_zero_are_refused(field):
    with pytest.raises(ValueError, match=f"{field}: expected > 0, got 0"):
        config(**{field: 0})


@pytest.mark.parametrize("micro_batches", [0, 5])
def test_parts_must_be_at_most_the_examples(micro_batches):
    with pytest.raises(ValueError, match="micro_batches: expected between 1 and batch"):
        config(micro_batches=micro_batches)
