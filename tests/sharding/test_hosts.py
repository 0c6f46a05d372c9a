"""Who the processes of a run are, from flags and from what schedulers set."""

import os
import socket
import subprocess
import sys

import pytest

from sophia_jax.sharding.hosts import HostSettings, host_settings, initialize_hosts
from sophia_jax.types import InputError

SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[007-010],cpu1",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
}
JOBSET = {
    "JOBSET_NAME": "run",
    "REPLICATED_JOB_NAME": "hosts",
    "NNODES": "4",
    "JOB_COMPLETION_INDEX": "2",
}
GKE_TPU = {
    "TPU_WORKER_HOSTNAMES": "t-0.t,t-1.t",
    "TPU_WORKER_ID": "1",
    "TPU_ML_PLATFORM": "JAX",
}
SLICES = {
    "MEGASCALE_NUM_SLICES": "2",
    "MEGASCALE_SLICE_ID": "0",
    "MEGASCALE_COORDINATOR_ADDRESS": "run-slice-0-0.run",
}
FLAGS = {"coordinator": "node-1:1234", "num_processes": 2, "process_id": 1}


@pytest.mark.parametrize(
    ("environment", "flags", "settings"),
    [
        ({}, {}, None),
        ({}, FLAGS, HostSettings("node-1:1234", 2, 1)),
        (SLURM | GKE_TPU, FLAGS, HostSettings("node-1:1234", 2, 1)),
        ({}, FLAGS | {"coordinator": "[::1]:80"}, HostSettings("[::1]:80", 2, 1)),
        (SLURM, {"num_processes": 1}, None),
        ({"TPU_ML_PLATFORM": "JAX"}, {}, "gcetpu"),
        ({"TPU_ML_PLATFORM": "JAX", "JAX_PLATFORMS": "tpu,cpu"}, {}, "gcetpu"),
        ({"TPU_ML_PLATFORM": "JAX", "JAX_PLATFORMS": "cpu"}, {}, None),
        ({"TPU_ML_PLATFORM": "JAX", "TPU_SKIP_MDS_QUERY": "1"}, {}, None),
        (GKE_TPU | JOBSET, {}, "gketpu"),
        (GKE_TPU | SLICES, {}, "gketpu"),
        (GKE_TPU | {"TPU_WORKER_HOSTNAMES": "localhost"}, {}, None),
        (SLURM, {}, HostSettings("gpu007:61441", 4, 3)),
        (
            SLURM
            | {"SLURM_STEP_NODELIST": "a1,a2", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
            {},
            HostSettings("a1:61441", 4, 3, (1,)),
        ),
        (
            SLURM | {"SLURM_STEP_NODELIST": "a-b", "JAX_COORDINATOR_PORT": "99"},
            {},
            HostSettings("a-b:99", 4, 3),
        ),
        (SLURM | {"SLURM_NTASKS": "1"}, {}, None),
        ({"SLURM_JOB_ID": "7"}, {}, None),
        (JOBSET, {}, HostSettings("run-hosts-0-0.run:8482", 4, 2)),
        (JOBSET | {"NNODES": "1", "JOB_COMPLETION_INDEX": "0"}, {}, None),
        ({"JOB_COMPLETION_INDEX": "2"}, {}, None),  # of an array of single runs
    ],
)
def test_surroundings_say_who_we_are(environment, flags, settings):
    if isinstance(settings, str):  # JAX reads them by itself
        settings = HostSettings(cluster_detection_method=settings)
    assert host_settings(environment, **flags) == settings


@pytest.mark.parametrize(
    ("environment", "flags", "message"),
    [
        ({}, {"coordinator": "a:1"}, "--num-processes: expected a value beside "),
        ({}, FLAGS | {"coordinator": None}, "--coordinator: expected a value beside "),
        ({}, {"num_processes": 1, "process_id": 1}, "--coordinator: expected a value"),
        ({}, FLAGS | {"coordinator": "a"}, "--coordinator: expected HOST:PORT, got a"),
        ({}, FLAGS | {"process_id": 2}, r"--process-id: expected in \[0, 2\) for "),
        ({}, FLAGS | {"num_processes": 0}, "--num-processes: expected > 0, got 0"),
        (SLURM, {"SLURM_STEP_NODELIST": None}, "SLURM_STEP_NODELIST: .* with srun"),
        (SLURM, {"SLURM_PROCID": "4"}, r"SLURM_PROCID: .* in \[0, 4\), got 4"),
        (SLURM, {"SLURM_PROCID": None}, "SLURM_PROCID: .*, got none"),
        (SLURM, {"SLURM_NTASKS": "x"}, "SLURM_NTASKS: .* whole number >= 1, got x"),
        (JOBSET, {"NNODES": None}, "NNODES: expected a value in the environment"),
        (JOBSET, {"JOB_COMPLETION_INDEX": "4"}, "JOB_COMPLETION_INDEX: .* got 4"),
        (JOBSET, {"REPLICATED_JOB_NAME": ""}, "REPLICATED_JOB_NAME: .* got none"),
        (GKE_TPU, {"TPU_WORKER_ID": None}, "TPU_WORKER_ID: .*, got none"),
        (GKE_TPU, {"TPU_WORKER_ID": "2"}, r"TPU_WORKER_ID: .* \[0, 2\), got 2"),
        (
            GKE_TPU,
            {"TPU_ML_PLATFORM": None},
            r"TPU_WORKER_HOSTNAMES: .*sophia-jax\[tpu",
        ),
        (GKE_TPU | SLICES, {"MEGASCALE_SLICE_ID": "2"}, "MEGASCALE_SLICE_ID: "),
        (
            GKE_TPU | SLICES,
            {"MEGASCALE_COORDINATOR_ADDRESS": None},
            "MEGASCALE_COORDINATOR_ADDRESS: .* got none",
        ),
    ],
)
def test_what_is_missing_or_contradicts_is_named(environment, flags, message):
    if environment:  # then what changes is in it
        changed = environment | flags
        environment = {k: v for k, v in changed.items() if v is not None}
        flags = {}
    with pytest.raises(InputError, match=message):
        host_settings(environment, **flags)


def test_one_process_joins_nobody(monkeypatch):
    for name in SLURM | JOBSET | GKE_TPU:
        monkeypatch.delenv(name, raising=False)
    assert initialize_hosts() is None
    assert initialize_hosts(num_processes=1) is None


def test_processes_find_each_other_and_a_failed_one_leaves_at_once():
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    program = (
        "import jax, time, sys\n"
        "from sophia_jax.sharding.hosts import initialize_hosts, leave_hosts\n"
        "initialize_hosts(heartbeat_seconds=20)\n"
        "numbers = jax.process_index(), jax.process_count(), jax.device_count()\n"
        "print(*numbers, flush=True)\n"
        "if jax.process_index() == 1: leave_hosts(3)\n"
        "sys.stdin.read()\n"
    )
    task = SLURM | {"SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    task |= {"JAX_COORDINATOR_PORT": str(port), "JAX_NUM_CPU_DEVICES": "2"}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | {"XLA_FLAGS": ""} | task | {"SLURM_PROCID": str(number)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        assert [process.stdout.readline() for process in both] == ["0 2 4\n", "1 2 4\n"]
        assert both[1].wait(timeout=10) == 3  # not 20 s later, by the barrier's abort
        assert both[0].poll() is None
    finally:
        for process in both:
            process.kill()
            process.communicate()
