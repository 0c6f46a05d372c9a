"""Two processes of four devices train as one of two does, and end together."""

import contextlib
import dataclasses
import importlib.util
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
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.internvl import init_params, model_graph
from sophia_jax.sharding import make_mesh
from sophia_jax.training.metrics import read_metrics

PROGRAM = Path(__file__).parent / "hosts_in_step.py"
TIMEOUT = 300


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(PROGRAM.stem, PROGRAM)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def run_two(model, collected, *acts):
    """The exit codes of the program's processes, and what each said."""
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    arguments = {"port": port, "model": str(model), "collected": str(collected)}
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    # Into files: whoever fills a pipe that is read after the other's waits for ever.
    logs = [model.parent / f"said-{process}.txt" for process in range(2)]
    with contextlib.ExitStack() as stack:
        processes = [
            subprocess.Popen(
                [
                    *(sys.executable, PROGRAM),
                    json.dumps(arguments | {"process": process, "acts": acts}),
                ],
                env=environment,
                stderr=stack.enter_context(log.open("w")),
            )
            for process, log in enumerate(logs)
        ]
        try:
            for process in processes:
                process.wait(timeout=TIMEOUT)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    said = [log.read_text() for log in logs]
    codes = [process.returncode for process in processes]
    assert codes == [75, -9], [each[-3000:] for each in said]
    return [[x for x in each.splitlines() if "sophia-jax:" in x] for each in said]


@pytest.fixture(scope="module")
def runs(script, vision_model, tmp_path_factory):
    """What is left by one process, and by two of which one is killed at last.

    A phase that one process began is ended by two, and one that two began by one.
    """
    folder = tmp_path_factory.mktemp("hosts")
    save_model(shallow(vision_model), folder / "base")

    def alone(name, **options):
        model = load_model(folder / "base", mesh=make_mesh(fsdp=2))
        script.act(model, folder / name, **options)

    def act(name, **options):
        return {"folder": str(folder / name), **options}

    script.collect(folder / "collected-1")
    alone("one", export=True)
    alone("lora-one", lora=True)
    begin_again_at(2, folder / "one", folder / "one-two")
    said = run_two(
        *(folder / "base", folder / "collected-2"),
        *(act("two", export=True), act("one-two", export=True)),
        *(act("damaged", damaged=str(folder / "two")), act("lora-two", lora=True)),
        *(act("crossing", crosses=True, export=True), act("stopped", signalled_at=1)),
        act("dead", killed_at=1),
    )
    begin_again_at(2, folder / "two", folder / "two-one")
    alone("two-one", export=True)
    return folder, said


def shallow(model):
    """One of the same kind, with a layer in each part: it is compiled sooner."""
    parts = model.config.text, model.config.vision
    text, vision = (dataclasses.replace(part, num_layers=1) for part in parts)
    config = dataclasses.replace(model.config, text=text, vision=vision)
    params = jax.jit(init_params, static_argnums=1)(jax.random.key(1), config)
    model = dataclasses.replace(model, config=config, params=params)
    return dataclasses.replace(model, graphdef=model_graph(config))


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


@pytest.mark.parametrize("name", ["two", "two-one", "one-two", "crossing"])
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


def test_each_process_reads_its_own_share_alone(runs, script):
    steps, batch_size, examples = script.STEPS, script.BATCH, script.EXAMPLES
    read = [
        json.loads((runs[0] / "two" / f"touched-{process}.json").read_text())
        for process in range(2)
    ]
    for process, touched in enumerate(read):
        batches = iter(
            read_batches(
                range(examples),
                list,
                batch_size=batch_size,
                seed=0,
                host=process,
                num_hosts=2,
            )
        )
        due = [number for _ in range(steps) for number in next(batches)]
        assert set(due) <= set(touched)
        batches.close()
    # Threads take examples a little out of order: less than a batch.
    early = examples // 2 - batch_size // 2
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


def test_what_one_process_alone_cannot_read_is_set_aside_by_both(runs):
    folder = runs[0] / "damaged"
    np.testing.assert_array_equal(losses(folder), losses(runs[0] / "two"))
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {"2", "4", "damaged-4"}


def test_a_signal_to_one_stops_both_after_the_same_update(runs):
    folder, lines = runs
    assert "stopped by another process" in lines[0][0]
    assert "stopped by SIGTERM" in lines[1][0]
    assert [each[0][-5:] for each in lines] == [" (75)"] * 2
    assert len(read_metrics(folder / "stopped" / "metrics.jsonl")) >= 2
    names = {path.name for path in (folder / "stopped" / "checkpoints").iterdir()}
    assert names & {"2", "3"}


def test_when_one_dies_the_other_ends_with_a_line(runs):
    _, lines = runs
    assert [len(each) for each in lines] == [2, 1]
    assert "another process of the run died; start all" in lines[0][1]
