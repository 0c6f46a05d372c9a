"""Two processes of four devices train as one of eight does, and end together."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from sophia_jax.data.pipeline import read_batches
from sophia_jax.models.folder import save_model
from sophia_jax.training.metrics import read_metrics

PROGRAM = Path(__file__).parent / "hosts_in_step.py"
MESH = {"data": 2, "fsdp": 4}
STEPS, BATCH, EXAMPLES = 6, 16, 48  # as in the program
TIMEOUT = 600


def run(num_processes, model, *acts, mesh=MESH):
    """The exit codes of a program's processes, and what each said."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    arguments = {"processes": num_processes, "port": port, "mesh": mesh}
    collected = model.parent / f"collected-{num_processes}"
    arguments |= {"model": str(model), "collected": str(collected), "acts": acts}
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={8 // num_processes}",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAM, json.dumps(arguments | {"process": process})],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(num_processes)
    ]
    try:
        said = [process.communicate(timeout=TIMEOUT)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    lines = [[x for x in each.splitlines() if "sophia-jax:" in x] for each in said]
    codes = [process.returncode for process in processes]
    assert any(codes) or not any(lines), said
    return codes, lines


@pytest.fixture(scope="module")
def runs(vision_model, tmp_path_factory):
    """What is left by two processes, by one, and by two of which one dies.

    A phase that two processes began is ended by one, and one that one began by two.
    """
    folder = tmp_path_factory.mktemp("hosts")
    save_model(vision_model, folder / "base")

    def act(name, **more):
        return {"folder": str(folder / name), **more}

    two = run(
        *(2, folder / "base", act("two", export=True), act("lora-two", lora=True)),
        act("stopped", signalled_at=1),
    )
    begin_again_at(3, folder / "two", folder / "two-one")
    acts = act("one", export=True), act("two-one", export=True)
    acts = *acts, act("lora-one", lora=True)
    assert run(1, folder / "base", *acts) == ([0], [[]])
    begin_again_at(3, folder / "one", folder / "one-two")
    dead = run(
        *(2, folder / "base", act("one-two", export=True)), act("stopped", killed_at=5)
    )
    return folder, two, dead


def begin_again_at(step, folder, copy):
    """A phase as it was left after an update."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("model", "events*"))
    for path in (copy / "checkpoints").iterdir():
        if path.name != str(step):
            shutil.rmtree(path)


def losses(folder):
    rows = read_metrics(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(len(rows)))
    names = ("loss", "gradient_norm", "mean_log_prob", "tokens")
    return np.array([[row[name] for name in names] for row in rows])


@pytest.mark.parametrize("name", ["two", "two-one", "one-two"])
def test_updates_are_those_of_one_process(runs, name):
    folder = runs[0]
    np.testing.assert_allclose(losses(folder / name), losses(folder / "one"), rtol=1e-5)
    ours, theirs = (
        load_file(folder / each / "model" / "model.safetensors")
        for each in (name, "one")
    )
    assert ours.keys() == theirs.keys()
    # The loss does not depend on a key's bias: its gradient is the error of rounding.
    for tensor in [name for name in ours if not name.endswith("k_proj.bias")]:
        np.testing.assert_allclose(
            ours[tensor], theirs[tensor], atol=1e-4, err_msg=tensor
        )


def test_each_process_reads_its_own_share_alone(runs):
    read = [
        json.loads((runs[0] / "two" / f"touched-{process}.json").read_text())
        for process in range(2)
    ]
    for process, touched in enumerate(read):
        batches = iter(
            read_batches(
                range(EXAMPLES),
                list,
                batch_size=BATCH,
                seed=0,
                host=process,
                num_hosts=2,
            )
        )
        due = [number for _ in range(STEPS) for number in next(batches)]
        assert set(due) <= set(touched)
        assert len(touched) < STEPS * BATCH  # also with what is read ahead
        batches.close()
    # Threads take examples a little out of order: less than a batch.
    early = EXAMPLES // 2 - BATCH // 2
    assert not set(read[0][:early]) & set(read[1][:early])


def test_each_process_makes_its_own_shards_of_rollouts(runs):
    found = [
        {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*.parquet")
        }
        for folder in (runs[0] / "collected-1", runs[0] / "collected-2")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 3 * 3
    # Shards of 2, 2 and 1 questions, with 2 captions and 6 reasonings each.
    drawn = [(runs[0] / "collected-2" / f"drawn-{n}.json").read_text() for n in (0, 1)]
    assert drawn == ["[24]", "[16]"]


def test_what_there_is_one_of_is_written_once(runs):
    found = {path.name.split(".")[0] for path in (runs[0] / "two").iterdir()}
    touched = {"touched-0", "touched-1"}
    assert found == {"checkpoints", "metrics", "events", "model", *touched}
    events = list((runs[0] / "two").glob("events*"))
    assert len(events) == 1


def test_two_processes_write_the_adapters_and_the_merged_model_of_one(runs):
    found = [
        {
            str(path.relative_to(runs[0] / name)): path.read_bytes()
            for path in (runs[0] / name).rglob("*")
            if path.is_file()
        }
        for name in ("lora-one", "lora-two")
    ]
    assert found[0] == found[1]
    names = {"adapters/adapter_model.safetensors", "model/model.safetensors"}
    assert names <= found[0].keys()


def test_a_signal_to_one_stops_both_after_the_same_update(runs):
    folder, (codes, lines), _ = runs
    assert codes == [75, 75]
    assert ["stopped by another process" in lines[0][0], len(lines[0])] == [True, 1]
    assert ["stopped by SIGTERM" in lines[1][0], len(lines[1])] == [True, 1]
    assert len(read_metrics(folder / "stopped" / "metrics.jsonl")) >= 2
    names = {path.name for path in (folder / "stopped" / "checkpoints").iterdir()}
    assert names & {"2", "3"}


def test_when_one_dies_the_other_ends_with_a_line(runs):
    _, _, (codes, lines) = runs
    assert codes == [75, -9]
    assert len(lines[0]) == 1
    assert "another process of the run died; start all" in lines[0][0]
