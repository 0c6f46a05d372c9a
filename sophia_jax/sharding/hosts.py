"""Several processes that run one program: who they are, from flags or surroundings."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jax

from sophia_jax.types import InputError

__all__ = ["HostSettings", "host_settings", "initialize_hosts", "leave_hosts"]

HEARTBEAT_SECONDS = 30  # a process that is silent for so long is dead to the others
START_SECONDS = 300  # hosts of one job come up minutes apart: images, queues
SHUTDOWN_SECONDS = 300  # for a live one that still writes; a dead one ends it sooner
JOBSET_PORT = 8482  # any free one on which all agree
SLURM_PORTS = (61440, 4096)  # first and number; the job's number picks one


@dataclass(frozen=True)
class HostSettings:
    """What `jax.distributed.initialize` is told; None is left for it to find.

    Attributes:
      coordinator_address: HOST:PORT of process 0.
      num_processes: of the whole run.
      process_id: this process, in [0, num_processes).
      local_device_ids: accelerators of this host that are ours; None for all.
      cluster_detection_method: JAX's name of the surroundings that it reads by itself,
        or "deactivate".
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    local_device_ids: tuple[int, ...] | None = None
    cluster_detection_method: str = "deactivate"


def initialize_hosts(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    start_seconds: int = START_SECONDS,
    shutdown_seconds: int = SHUTDOWN_SECONDS,
) -> HostSettings | None:
    """Join the processes of this run, before the first array is made.

    After that, SIGTERM no longer ends the process: JAX catches it, and
    `jax.experimental.multihost_utils.reached_preemption_sync_point` tells of it. A
    process that is silent for `heartbeat_seconds` makes the others end.

    Args:
      coordinator: HOST:PORT of process 0; None to look in the environment.
      num_processes: of the whole run; 1 alone means no others, whatever else is set.
      process_id: this process, in [0, num_processes).
      heartbeat_seconds: of silence, after which a process counts as dead.
      start_seconds: that processes wait for each other at the start.
      shutdown_seconds: that a process which is done waits for live ones that are not.

    Returns:
      What was told to JAX; None for one process, or where JAX knows its hosts already.

    Raises:
      InputError: for flags or variables that are missing or contradict each other.
    """
    settings = host_settings(
        os.environ,
        coordinator=coordinator,
        num_processes=num_processes,
        process_id=process_id,
    )
    if settings is None or jax.distributed.is_initialized():
        return None
    jax.distributed.initialize(
        **asdict(settings),
        heartbeat_timeout_seconds=heartbeat_seconds,
        initialization_timeout=start_seconds,
        shutdown_timeout_seconds=shutdown_seconds,
    )
    return settings


def leave_hosts(code: int) -> None:
    """End a process that has joined others at once; return if it has joined none.

    A usual exit waits for all of them, then aborts if one is dead.

    Args:
      code: that the process ends with.
    """
    if not jax.distributed.is_initialized():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def host_settings(
    environment: Mapping[str, str],
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> HostSettings | None:
    """Who the processes of a run are: by flags, else by a TPU, SLURM, or a JobSet.

    Args:
      environment: after `import jax`, which marks machines with TPUs there.
      coordinator: HOST:PORT of process 0.
      num_processes: of the whole run; 1 alone means no others.
      process_id: this process, in [0, num_processes).

    Returns:
      What JAX is to be told; None for one process.

    Raises:
      InputError: for flags or variables that are missing or contradict each other.
    """
    flags = {
        "--coordinator": coordinator,
        "--num-processes": num_processes,
        "--process-id": process_id,
    }
    if any(value is not None for value in flags.values()):
        return _from_flags(flags)
    platforms = environment.get("JAX_PLATFORMS", "")
    if not platforms or "tpu" in platforms.split(","):
        if "TPU_WORKER_HOSTNAMES" in environment:
            return _on_gke_tpu(environment)
        # The first is set by JAX where it finds chips, the second where no metadata
        # server knows of others: on Colab and Kaggle.
        on_cloud = "TPU_SKIP_MDS_QUERY" not in environment
        if "TPU_ML_PLATFORM" in environment and on_cloud:
            return HostSettings(cluster_detection_method="gcetpu")
    if "SLURM_JOB_ID" in environment:
        return _in_slurm(environment)
    if "JOBSET_NAME" in environment:
        return _in_jobset(environment)
    return None


def _from_flags(flags: Mapping[str, str | int | None]) -> HostSettings | None:
    coordinator, num_processes, process_id = flags.values()
    if num_processes == 1 and coordinator is None and process_id in (None, 0):
        return None
    missing = [name for name, value in flags.items() if value is None]
    if missing:
        given = [name for name, value in flags.items() if value is not None]
        raise InputError(
            f"{missing[0]}: expected a value beside {' and '.join(given)}, got none"
        )
    if not re.fullmatch(r"([\w.-]+|\[[\da-fA-F:]+\]):\d{1,5}", coordinator):
        raise InputError(f"--coordinator: expected HOST:PORT, got {coordinator}")
    if num_processes < 1:
        raise InputError(f"--num-processes: expected > 0, got {num_processes}")
    if not 0 <= process_id < num_processes:
        rule = f"in [0, {num_processes}) for --num-processes {num_processes}"
        raise InputError(f"--process-id: expected {rule}, got {process_id}")
    return HostSettings(coordinator, num_processes, process_id)


def _on_gke_tpu(environment: Mapping[str, str]) -> HostSettings | None:
    """JAX reads these itself, with errors that name no variable."""
    hosts = environment["TPU_WORKER_HOSTNAMES"].split(",")
    slices = 1
    if "MEGASCALE_NUM_SLICES" in environment:
        slices = _number(environment, "MEGASCALE_NUM_SLICES", at_least=1)
    if len(hosts) * slices == 1:
        return None
    _number(environment, "TPU_WORKER_ID", below=len(hosts))
    if slices > 1:
        _number(environment, "MEGASCALE_SLICE_ID", below=slices)
        _text(environment, "MEGASCALE_COORDINATOR_ADDRESS")
    if "TPU_ML_PLATFORM" not in environment:
        raise InputError(
            "TPU_WORKER_HOSTNAMES: expected TPU chips and libtpu on such a host, got "
            "none; pip install 'sophia-jax[tpu]', or set JAX_PLATFORMS=cpu"
        )
    return HostSettings(cluster_detection_method="gketpu")


def _in_slurm(environment: Mapping[str, str]) -> HostSettings | None:
    """One process on each node has all its accelerators; of several, each has one.

    JAX's own detection gives each process one accelerator in both cases.
    """
    if "SLURM_NTASKS" not in environment:  # an allocation without tasks
        return None
    num_processes = _number(environment, "SLURM_NTASKS", at_least=1)
    if num_processes == 1:
        return None
    if "SLURM_STEP_NODELIST" not in environment:
        raise InputError(
            "SLURM_STEP_NODELIST: expected what srun sets, got none; start the "
            f"{num_processes} tasks with srun, or give --num-processes 1"
        )
    first = re.match(r"([^,\[]+)(?:\[(\w+))?", environment["SLURM_STEP_NODELIST"])
    if first is None:
        nodes = environment["SLURM_STEP_NODELIST"]
        raise InputError(f"SLURM_STEP_NODELIST: expected names of nodes, got {nodes}")
    start, number = SLURM_PORTS
    port = start + _number(environment, "SLURM_JOB_ID") % number
    local = None
    if not re.fullmatch(
        r"1(\(x\d+\))?", _text(environment, "SLURM_STEP_TASKS_PER_NODE")
    ):
        local = (_number(environment, "SLURM_LOCALID"),)
    return HostSettings(
        f"{first[1]}{first[2] or ''}:{environment.get('JAX_COORDINATOR_PORT', port)}",
        num_processes,
        _number(environment, "SLURM_PROCID", below=num_processes),
        local,
    )


def _in_jobset(environment: Mapping[str, str]) -> HostSettings | None:
    """A JobSet gives its first pod a name that does not change when it restarts."""
    num_processes = _number(environment, "NNODES", at_least=1)
    process_id = _number(environment, "JOB_COMPLETION_INDEX", below=num_processes)
    if num_processes == 1:
        return None
    jobset = environment["JOBSET_NAME"]
    job = _text(environment, "REPLICATED_JOB_NAME")
    port = environment.get("JAX_COORDINATOR_PORT", JOBSET_PORT)
    return HostSettings(
        f"{jobset}-{job}-0-0.{jobset}:{port}", num_processes, process_id
    )


def _text(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise InputError(f"{name}: expected a value in the environment, got none")
    return environment[name]


def _number(
    environment: Mapping[str, str],
    name: str,
    *,
    at_least: int = 0,
    below: int | None = None,
) -> int:
    """A variable that is a whole number in its range."""
    given = _text(environment, name)
    rule = f">= {at_least}" if below is None else f"in [{at_least}, {below})"
    if not given.isdecimal() or int(given) < at_least:
        raise InputError(f"{name}: expected a whole number {rule}, got {given}")
    if below is not None and int(given) >= below:
        raise InputError(f"{name}: expected a whole number {rule}, got {given}")
    return int(given)
