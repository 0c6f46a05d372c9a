"""GKE, by xpk and by JobSets, and SLURM: what is submitted, and what is refused."""

import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "scripts" / "launch"
PLACE = "--project=p-1 --zone=us-east5-b"
COMMAND = ("--", "sophia-jax", "update", "--run", "a b's")
XPK = ("xpk.sh", "--cluster", "c1", "--name", "run1", "--type", "v5p-128")
IMAGE = ("--image", "europe-docker.pkg.dev/p/r/i:1")
GKE = ("gke.sh", "--name", "run1")


def at(given, action):
    """The script, the action, and the options."""
    return (given[0], action, *given[1:])


@pytest.mark.parametrize(
    ("given", "called"),
    [
        (
            (*at(XPK, "create"), "--slices", "2", "--provision", "spot"),
            "xpk cluster create --tpu-type=v5p-128 --num-slices=2 --spot --cluster=c1",
        ),
        (
            (*at(XPK, "create"), "--provision", "my-reservation"),
            "xpk cluster create --tpu-type=v5p-128 --num-slices=1 "
            "--reservation=my-reservation --cluster=c1",
        ),
        (
            (*at(XPK, "start"), *IMAGE, *COMMAND),
            "xpk workload create --workload=run1 --tpu-type=v5p-128 --num-slices=1 "
            "--docker-image=europe-docker.pkg.dev/p/r/i:1 --max-restarts=100 "
            "--restart-on-exit-codes=75,134 --termination-grace-period-seconds=300 "
            "--command=sophia-jax update --run 'a b'\\''s' --cluster=c1",
        ),
        (
            ("xpk.sh", "logs", "--name", "run1"),
            "kubectl logs --selector=xpk.google.com/workload=run1 --all-containers ",
        ),
        (at(XPK, "status"), "xpk workload list --filter-by-job=^run1$ --cluster=c1"),
        (
            (*at(XPK, "stop"), "--yes-delete", "run1"),
            "xpk workload delete --workload=run1 --force --cluster=c1 ",
        ),
        (
            (*at(XPK, "delete"), "--yes-delete", "c1"),
            f"xpk cluster delete --force --cluster=c1 {PLACE}",
        ),
        (
            (*at(GKE, "create"), "--type", "v6e-64", "--cluster", "c1"),
            "gcloud container node-pools create run1-0 --machine-type=ct6e-standard-4t "
            "--tpu-topology=8x8 --num-nodes=16 --cluster=c1 --project=p-1 "
            "--location=us-east5-b",
        ),
        (at(GKE, "logs"), "kubectl --namespace=default logs --selector="),
        (at(GKE, "status"), "kubectl --namespace=default get jobset run1"),
        (
            (*at(GKE, "stop"), "--context", "k", "--yes-delete", "run1"),
            "kubectl --context=k --namespace=default delete jobset run1",
        ),
        (
            ("slurm.sh", "start", "--name", "run1", "--nodes", "2", *COMMAND),
            "sbatch --job-name=run1 --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 "
            "--exclusive --requeue --signal=B:TERM@300 --output=run1.log "
            "--open-mode=append --export=ALL,SOPHIA_MAX_RESTARTS=100 "
            f"{LAUNCH}/job.sbatch sophia-jax update --run a b's",
        ),
        (
            ("slurm.sh", "start", "--name", "r", "--time", "1-00:00", "--gpus", "0")
            + ("--partition", "p", *COMMAND),
            "sbatch --job-name=r --nodes=1 --ntasks-per-node=1 --exclusive ",
        ),
        (
            ("slurm.sh", "stop", "--name", "run1"),
            "scancel --me --name=run1 --signal=TERM",
        ),
    ],
)
def test_each_action_runs_what_its_dry_run_prints(given, called, launch, calls):
    code, lines, _ = launch(given[0], given[1], "--dry-run", *given[2:])
    assert code == 0
    assert any(" ".join(shlex.split(line)).startswith(called) for line in lines)
    assert calls() == []
    assert launch(*given)[0] == 0
    assert any(call.startswith(called) for call in calls())
    assert len(calls()) == len(lines)


@pytest.mark.parametrize(
    ("given", "listed", "deleted"),
    [
        (
            (*at(GKE, "delete"), "--cluster", "c1", "--yes-delete", "run1"),
            "node-pools list --filter=name~^run1-[0-9]+$ --format=value(name) ",
            ["gcloud container node-pools delete {} --quiet --cluster=c1 "],
        ),
        (
            ("slurm.sh", "cancel", "--name", "run1", "--yes-delete", "run1"),
            "squeue --me --name=run1 --noheader --format=%i",
            ["scontrol update JobId={} Requeue=0", "scancel {}"],
        ),
    ],
)
def test_all_that_is_found_is_deleted(given, listed, deleted, launch, answer, calls):
    code, lines, _ = launch(given[0], given[1], "--dry-run", *given[2:])
    lines = [line for line in lines if line[0] != "#"]
    assert (code, calls(), len(lines)) == (0, [], 1 + len(deleted))
    code, _, said = launch(*given)
    assert code == 2 and "called run1" in said[-1]
    answer(listed.split()[0], "run1-0", "run1-1")
    assert launch(*given)[0] == 0
    found = calls()[2:]
    assert all(listed in call for call in calls()[:2])
    expected = [each.format(x) for x in ("run1-0", "run1-1") for each in deleted]
    assert len(found) == len(expected)
    for call, start in zip(found, expected, strict=True):
        assert call.startswith(start)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((*at(XPK, "stop"), "--yes-delete", "c1"), "--yes-delete: expected run1, "),
        ((*at(XPK, "delete"), "--yes-delete", "run1"), "--yes-delete: expected c1, "),
        (at(GKE, "stop"), "--yes-delete: expected run1, "),
        ((*at(GKE, "delete"), "--cluster", "c1"), "--yes-delete: expected run1, "),
        (("slurm.sh", "cancel", "--name", "r"), "--yes-delete: expected r, "),
        ((*at(XPK, "start"), *COMMAND), "--image: expected a value, got none"),
        (at(GKE, "create"), "--cluster: expected a value, got none"),
        ((*at(GKE, "render"), "--gpu", "h100"), "--gpu: expected as nvidia-h100-80gb"),
        (
            (*at(GKE, "render"), "--type", "v6e-64", "--topology", "8x16"),
            "--topology: expected 64 chips, as v6e-64 has, got 8x16",
        ),
        (
            (*at(GKE, "start"), "--type", "v6e-4", "--image", "a: b", *COMMAND),
            "--image: expected REGISTRY/NAME:TAG, got a: b",
        ),
        (
            (*at(GKE, "start"), "--type", "v6e-4", *IMAGE, "--", "a", "b\x01"),
            "command: expected no control characters, got $'b\\001'",
        ),
        (
            (*at(GKE, "render"), "--type", "v6e-4", *IMAGE, "--", "a\x7f"),
            "command: expected no control characters, got $'a\\177'",
        ),
        (
            (*at(GKE, "render"), "--type", "v6e-4", "--gpus", "4"),
            "--hosts, --gpus: expected none with --type",
        ),
        (
            (*at(GKE, "render"), "--gpu", "nvidia-l4", "--topology", "2x2"),
            "--topology: expected none with --gpu, got 2x2",
        ),
        (
            ("slurm.sh", "start", "--name", "r", "--time", "1 day", *COMMAND),
            "--time: expected DAYS-HOURS:MINUTES:SECONDS, got 1 day",
        ),
        (
            ("slurm.sh", "start", "--name", "r", "--account", "a;b", *COMMAND),
            "--account: expected a name, got a;b",
        ),
        (("gpu.sh", "status", "--host", "-oX"), "--host: expected USER@MACHINE"),
        (("gpu.sh", "status", "--host", "h;id"), "--host: expected USER@MACHINE"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(given, message, launch, calls):
    code, lines, said = launch(*given)
    assert (code, lines, len(said)) == (2, [], 1)
    assert said[0].startswith(f"{given[0]}: error: {message}")
    assert calls() == []


def jobset(launch, *options):
    code, lines, said = launch("gke.sh", "render", "--name", "run1", *options)
    assert (code, said) == (0, [])
    assert "@" not in "\n".join(line for line in lines if "command" not in line)
    return yaml.safe_load("\n".join(lines))["spec"]


def test_a_jobset_starts_all_hosts_and_restarts_on_75_and_134_alone(launch):
    hard = ("--", "sh", "-c", 'echo "$(HOME) \\ @NAME@"\n\t# é', "&1")
    options = (
        "--type",
        "v6e-64",
        "--slices",
        "2",
        "--max-restarts",
        "7",
        *IMAGE,
        *hard,
    )
    spec = jobset(launch, *options)
    assert spec["failurePolicy"]["maxRestarts"] == 7
    (job,) = spec["replicatedJobs"]
    assert job["replicas"] == 2
    one = job["template"]["spec"]
    assert (one["parallelism"], one["completions"], one["backoffLimit"]) == (16, 16, 0)
    disrupted, ended = one["podFailurePolicy"]["rules"]
    assert disrupted["onPodConditions"] == [{"type": "DisruptionTarget"}]
    assert (ended["action"], ended["onExitCodes"]["operator"]) == ("FailJob", "NotIn")
    assert ended["onExitCodes"]["values"] == [75, 134]
    pod = one["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "8x8",
    }
    (container,) = pod["containers"]
    assert container["name"] == ended["onExitCodes"]["containerName"]
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert container["image"] == IMAGE[1]
    # Kubernetes makes one $ of two, and expands none of these.
    assert [word.replace("$$", "$") for word in container["command"]] == list(hard[1:])


def test_pods_with_gpus_are_told_who_they_are(launch):
    from sophia_jax.sharding.hosts import host_settings

    options = ("--gpu", "nvidia-h100-80gb", "--hosts", "4", *IMAGE, *COMMAND)
    (job,) = jobset(launch, *options)["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    told = {variable["name"]: variable["value"] for variable in container["env"]}
    settings = host_settings(told | {"JOB_COMPLETION_INDEX": "3"})
    assert settings.coordinator_address == "run1-hosts-0-0.run1:8482"
    assert (settings.num_processes, settings.process_id) == (4, 3)
    assert container["ports"] == [{"containerPort": 8482}]


def test_a_jobset_is_sent_as_it_is_rendered(launch, calls):
    options = ("--name", "run1", "--type", "v4-8", *IMAGE, *COMMAND)
    _, rendered, _ = launch("gke.sh", "render", *options)
    code, lines, _ = launch("gke.sh", "start", "--dry-run", *options)
    assert code == 0
    assert lines[0] == "kubectl --namespace=default create -f - <<'JOBSET'"
    assert lines[1:] == [*rendered, "JOBSET"]
    assert launch("gke.sh", "start", *options)[0] == 0
    assert calls() == ["kubectl --namespace=default create -f -"]


@pytest.mark.parametrize(
    ("exit_code", "restarts", "found", "requeued"),
    [
        (0, 0, 0, False),
        (1, 0, 1, False),
        (75, 1, 0, True),
        (75, 2, 75, False),
        (134, 0, 0, True),
    ],
)
def test_a_job_is_queued_again_when_it_asks_for_it(
    exit_code, restarts, found, requeued, launch, answer, calls
):
    answer("srun", code=exit_code)
    job = {"SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": str(restarts)}
    code, _, _ = launch("job.sbatch", "train", "a b", SOPHIA_MAX_RESTARTS="2", **job)
    assert code == found
    assert calls()[0] == "srun --kill-on-bad-exit=0 --wait=300 train a b"
    assert calls()[1:] == ["scontrol requeue 5"] * requeued


@pytest.mark.parametrize("scancel", ["exit 0", "sleep 1"])  # srun has ended meanwhile
def test_a_job_hands_its_signal_on_and_waits(launch, tmp_path, calls, scancel):
    srun = tmp_path / "programs" / "srun"
    srun.write_text('#!/bin/sh\ntouch "$FAKE/up"; sleep 0.6; exit 75\n')
    with (tmp_path / "programs" / "scancel").open("a") as program:
        program.write(f"{scancel}\n")
    environment = {"FAKE": str(tmp_path), "SLURM_JOB_ID": "5"}
    environment["PATH"] = f"{srun.parent}:/usr/bin:/bin"
    job = subprocess.Popen(
        [LAUNCH / "job.sbatch", "train"], env=environment, stdout=subprocess.PIPE
    )
    while not (tmp_path / "up").exists():
        time.sleep(0.01)
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=20)
    assert (job.returncode, output) == (0, b"exit code 75 of: train\n")
    assert calls() == ["scancel --signal=TERM 5", "scontrol requeue 5"]
