"""A TPU slice by gcloud: what is run, when it is run again, and what is refused."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACE = "--project=p-1 --zone=us-east5-b"
TWO_HOSTS = ("--name", "run1", "--type", "v4-16", "--poll-seconds", "0")
COMMAND = ("--", "sophia-jax", "update", "--run", "a b's")
DESCRIBE = (
    "gcloud compute tpus queued-resources describe run1 --format=value(state.state) "
    f"{PLACE}"
)
CREATE = (
    "gcloud compute tpus queued-resources create run1 --node-id=run1 "
    f"--accelerator-type=v4-16 --runtime-version=tpu-ubuntu2204-base {PLACE}"
)
NOT_THERE = (
    "ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: Resource "
    "'projects/p-1/locations/us-east5-b/queuedResources/run1' was not found."
)
DELETE = f"gcloud compute tpus queued-resources delete run1 --force --quiet {PLACE}"
SSH = "gcloud compute tpus tpu-vm ssh run1 --worker=all --command="
SCP = "gcloud compute tpus tpu-vm scp"
ON_HOST = """sophia-jax update --run 'a b'\\''s'"""
START = f"{SSH}bash .sophia-jax/host.sh start 0 run {ON_HOST} {PLACE}"
STATUS = (
    f"{SSH}if [ -e .sophia-jax/host.sh ]; then bash .sophia-jax/host.sh status run; "
    f"else echo $(hostname) bare; fi {PLACE}"
)
INSTALL = [
    f"{SSH}mkdir -p .sophia-jax {PLACE}",
    f"{SCP} {ROOT}/scripts/launch/host.sh run1:.sophia-jax/ --worker=all {PLACE}",
    f"git -C {ROOT} archive --output={ROOT}/dist/source.tar.gz HEAD",
    f"git -C {ROOT} status --porcelain",
    f"{SCP} {ROOT}/dist/source.tar.gz run1:.sophia-jax/ --worker=all {PLACE}",
    f"{SSH}bash .sophia-jax/host.sh install tpu,gcs source.tar.gz {PLACE}",
]
SUM = "1779697129"  # of the words of COMMAND: printf '%s\0' ... | cksum


def words(lines):
    """What a shell makes of pasted lines."""
    return [" ".join(shlex.split(line)) for line in lines]


@pytest.fixture
def hosts(answer):
    """Lets the slice be active at the next look, and its two hosts be so."""

    def add(*states):
        answer("describe", "ACTIVE")
        answer("host.sh status", *(f"t-{n} {state}" for n, state in enumerate(states)))

    return add


def test_a_dry_run_prints_what_would_be_run_and_runs_nothing(launch, calls):
    code, lines, said = launch(
        "tpu.sh", "create", *TWO_HOSTS, "--provision", "spot", "--dry-run"
    )
    assert code == 0
    created = CREATE.replace(PLACE, f"--spot {PLACE}")
    assert words(lines) == [created, DESCRIBE]
    assert said == [
        "tpu.sh: run1: v4-16, topology 2x2x2, 8 chips on 2 hosts, spot",
    ]
    code, lines, _ = launch("tpu.sh", "start", *TWO_HOSTS, "--dry-run", *COMMAND)
    assert (code, words(lines)) == (0, [START])
    assert shlex.split(ON_HOST) == list(COMMAND[1:])  # for the hosts' own shell
    code, lines, _ = launch("tpu.sh", "keep", *TWO_HOSTS, "--dry-run", *COMMAND)
    commands = [line for line in lines if not line.startswith("#")]
    install = [line for line in INSTALL if "porcelain" not in line]
    install.insert(2, f"mkdir -p {ROOT}/dist")
    assert words(commands) == [CREATE, DESCRIBE, DELETE, *install, START, STATUS]
    assert calls() == []


@pytest.mark.parametrize(
    ("action", "options", "command"),
    [
        ("logs", (), f"{SSH}bash .sophia-jax/host.sh logs run {PLACE}"),
        ("stop", ("--run", "b"), f"{SSH}bash .sophia-jax/host.sh stop b {PLACE}"),
        ("delete", ("--yes-delete", "run1"), DELETE),
        (
            "install",
            ("--repository", "https://h/r.git", "--ref", "v1"),
            f"{SSH}bash .sophia-jax/host.sh install tpu,gcs git+https://h/r.git@v1 "
            f"{PLACE}",
        ),
        (
            "collect",
            ("--from", "runs/run1", "--to", "out/"),
            f"{SCP} --recurse --worker=0 {PLACE} run1:runs/run1 out.part",
        ),
        (
            "collect",
            ("--from", "gs://b/run1", "--to", "out"),
            "gcloud storage rsync --recursive --delete-unmatched-destination-objects "
            "gs://b/run1 out.659753450.part",
        ),
    ],
)
def test_each_action_runs_what_its_dry_run_prints(
    action, options, command, launch, calls, tmp_path
):
    given = ("tpu.sh", action, "--name", "run1", "--worker", "all", *options)
    code, lines, _ = launch(*given, "--dry-run")
    assert code == 0 and command in words(lines)
    if "runs/run1" in options:  # scp makes the folder in its target
        gcloud = tmp_path / "programs" / "gcloud"
        gcloud.write_text(gcloud.read_text() + 'mkdir -p "${@: -1}/run1"\n')
    assert launch(*given)[0] == 0
    assert command in calls()
    if action == "collect":
        assert (tmp_path / "out").is_dir() and not list(tmp_path.glob("*.part"))
        assert not list((tmp_path / "out").iterdir())  # no folder in the folder
        assert launch(*given)[2][0].endswith(
            "expected a path that does not exist, got out"
        )


def test_a_copy_that_failed_does_not_look_whole(launch, answer, tmp_path):
    answer("rsync", code=1)
    given = ("--from", "gs://b/run1", "--to", "out")
    assert launch("tpu.sh", "collect", "--name", "r", *given)[0] == 1
    assert not (tmp_path / "out").exists()
    given = ("gpu.sh", "collect", "--to", "out", "--from")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("of a")
    assert launch(*given, "b")[0] == 1
    assert "expected no out.part, which a copy" in launch(*given, "a")[2][0]
    (tmp_path / "out.part").rmdir()
    assert launch(*given, "a/")[0] == 0
    assert (tmp_path / "out" / "file").read_text() == "of a"


@pytest.mark.parametrize("reason", ["gcloud: command not found", "NOT_FOUND: project"])
def test_only_a_slice_that_is_not_there_is_asked_for(reason, launch, answer, calls):
    for _ in range(10):
        answer("describe", reason, code=1)
    assert launch("tpu.sh", "keep", *TWO_HOSTS, *COMMAND)[0] == 1
    assert calls() == [DESCRIBE] * 10


def test_without_gcloud_nothing_is_begun(launch, tmp_path):
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name))
    code, _, said = launch("tpu.sh", "status", *TWO_HOSTS, PATH=str(tmp_path))
    assert (code, len(said)) == (2, 1)
    assert said[0].startswith("tpu.sh: error: gcloud: expected the Google Cloud CLI")


def test_creating_waits_until_the_slice_is_active(launch, answer, calls):
    for state in ("ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"):
        answer("describe", state)
    code, _, said = launch("tpu.sh", "create", *TWO_HOSTS)
    assert code == 0
    assert [line.split()[2] for line in said[1:]] == [
        "ACCEPTED",
        "WAITING_FOR_RESOURCES",
        "PROVISIONING",
        "ACTIVE",
    ]
    assert calls() == [CREATE, *[DESCRIBE] * 4]
    answer("describe", "FAILED")
    assert launch("tpu.sh", "create", *TWO_HOSTS)[0] == 2


def test_what_was_preempted_is_asked_for_again_until_it_is_done(
    launch, answer, hosts, calls
):
    expected = []
    for _ in range(2):  # preempted twice, once while it runs and once while it waits
        answer("describe", NOT_THERE, code=1)
        answer("describe", "WAITING_FOR_RESOURCES")
        answer("describe", "ACTIVE")
        hosts("bare", "bare")
        hosts("idle", "idle")
        hosts(f"running 7 {SUM}", f"running 8 {SUM}")
        answer("describe", "SUSPENDING")
        answer("describe", "SUSPENDED")
        expected += [DESCRIBE, CREATE, *[DESCRIBE] * 3, STATUS, *INSTALL]
        expected += [DESCRIBE, STATUS, START, DESCRIBE, STATUS, *[DESCRIBE] * 2, DELETE]
    answer("describe", NOT_THERE, code=1)
    answer("describe", "ACTIVE")
    hosts("bare", "bare")
    hosts("idle", "idle")
    hosts(f"exit 0 {SUM}", f"running 8 {SUM}")
    hosts(f"exit 0 {SUM}", f"exit 0 {SUM}")
    code, _, said = launch("tpu.sh", "keep", *TWO_HOSTS, *COMMAND)
    assert code == 0, said
    assert said[-1] == "tpu.sh: run1: finished"
    expected += [DESCRIBE, CREATE, *[DESCRIBE] * 2, STATUS, *INSTALL]
    expected += [DESCRIBE, STATUS, START, *[DESCRIBE, STATUS] * 2]
    assert calls() == expected


@pytest.mark.parametrize(
    ("states", "starts", "code", "last"),
    [
        ([("exit 75", "exit 75"), ("exit 0", "exit 0")], 1, 0, "finished"),
        ([("exit 75", "exit 134"), ("exit 0", "exit 0")], 1, 0, "finished"),
        ([("exit 75", "lost"), ("exit 0", "exit 0")], 1, 0, "finished"),
        ([("exit 1", "exit 1")], 0, 1, "failed with exit code 1; "),
        ([("exit 75", "exit 1")], 0, 1, "failed with exit code 1 75; "),
        ([("exit 134", "exit 134")], 0, 1, "failed with exit code 134; "),
        ([("exit 0", "exit 2")], 0, 1, "failed with exit code 0 2; "),
        ([("exit 75", "exit 75")] * 3, 2, 2, "--max-restarts: 1 are used up"),
    ],
)
def test_only_a_command_that_asks_for_it_is_started_again(
    states, starts, code, last, launch, hosts, calls
):
    for pair in states:
        hosts(*(f"{state} {SUM}" for state in pair))
    found, _, said = launch(
        "tpu.sh", "keep", *TWO_HOSTS, "--max-restarts", "1", *COMMAND
    )
    assert (found, calls().count(START)) == (code, starts)
    assert last in said[-1]


def test_the_run_of_another_command_is_left_alone(launch, hosts, calls):
    hosts("running 7 1", "running 8 1")
    code, _, said = launch("tpu.sh", "keep", *TWO_HOSTS, *COMMAND)
    assert code == 2 and "expected a run of this command" in said[-1]
    assert calls() == [DESCRIBE, STATUS]


def test_hosts_that_do_not_answer_are_asked_ten_times(launch, answer, calls):
    for _ in range(10):
        answer("describe", "ACTIVE")
        answer("host.sh status", f"t-0 exit 0 {SUM}")  # of the other, nothing
    code, _, said = launch("tpu.sh", "keep", *TWO_HOSTS, *COMMAND)
    assert (code, said[-1]) == (1, "tpu.sh: run1: gave up after 10 failures in a row")
    assert calls().count(STATUS) == 10


def test_an_install_that_fails_is_not_taken_for_one(launch, answer, hosts, calls):
    hosts("bare", "bare")
    answer("mkdir", code=1)
    hosts(f"exit 0 {SUM}", f"exit 0 {SUM}")
    assert launch("tpu.sh", "keep", *TWO_HOSTS, *COMMAND)[0] == 0
    assert not any("host.sh install" in call for call in calls())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--name", "Run"), "--name: expected up to 63 of a-z, 0-9 and -, .* got Run"),
        (("--name", "a;rm"), "--name: expected .* got a;rm"),
        (("--name", "-x"), "--name: expected .* got -x"),
        (("--name", "a-"), "--name: expected .* got a-"),
        (("--project", "a b"), "--project: expected .* got a b"),
        (("--zone", "$(id)"), r"--zone: expected .* got \$\(id\)"),
        (("--type", "v5p-100"), "--type: expected a usual size of v5p, .* got v5p-100"),
        (("--type", "v6e-512"), "--type: expected a usual size of v6e"),
        (("--type", "h100"), "--type: expected an accelerator type, .* got h100"),
        (("--run", "../x"), r"--run: expected letters, .* got \.\./x"),
        (("--worker", "1;id"), "--worker: expected a number or all, got 1;id"),
        (("--provision", "free"), "--provision: expected on-demand, spot or reserved"),
        (("--ref", "v1"), "--repository: expected a value, got none"),
        (("--max-restarts", "-1"), "--max-restarts: expected a whole number >= 0"),
        (("--poll-seconds", "1e9"), "--poll-seconds: expected a whole number >= 0"),
        (("--tpye", "v4-8"), "--tpye: expected an option of --help, got --tpye"),
        (("--type",), "--type: expected a value, got none"),
        (("x",), "x: expected an option, or -- before the command"),
        ((), "expected a command after --, got none"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(options, message, launch, calls):
    code, lines, said = launch(
        "tpu.sh", "keep", "--name", "run1", "--type", "v4-8", *options
    )
    assert (code, lines, len(said)) == (2, [], 1)
    assert re.fullmatch(f"tpu.sh: error: {message}.*", said[0]), said
    assert calls() == []


def test_project_and_zone_have_no_default(launch):
    missing = "expected a value, or one in the environment variable"
    for name in ("PROJECT", "ZONE"):
        code, _, said = launch("tpu.sh", "logs", "--name", "r", **{name: ""})
        option = name.lower()
        assert code == 2
        assert said == [f"tpu.sh: error: --{option}: {missing} {name}, got none"]


@pytest.mark.parametrize("typed", [(), ("--yes-delete", ""), ("--yes-delete", "run")])
def test_nothing_is_deleted_whose_name_was_not_typed_out(typed, launch, calls):
    code, _, said = launch("tpu.sh", "delete", "--name", "run1", *typed)
    assert code == 2 and "--yes-delete: expected run1, the name of what" in said[0]
    assert calls() == []


SLICES = {
    "v4-8": ("2x2x1", 4, 1, "tpu-ubuntu2204-base"),
    "v4-32": ("2x2x4", 16, 4, "tpu-ubuntu2204-base"),
    "v5p-128": ("4x4x4", 64, 16, "v2-alpha-tpuv5"),
    "v5p-4096": ("8x16x16", 2048, 512, "v2-alpha-tpuv5"),
    "v5litepod-1": ("1x1", 1, 1, "v2-alpha-tpuv5-lite"),
    "v5litepod-8": ("2x4", 8, 1, "v2-alpha-tpuv5-lite"),
    "v5litepod-16": ("4x4", 16, 4, "v2-alpha-tpuv5-lite"),
    "v6e-8": ("2x4", 8, 1, "v2-alpha-tpuv6e"),
    "v6e-64": ("8x8", 64, 16, "v2-alpha-tpuv6e"),
    "v6e-256": ("16x16", 256, 64, "v2-alpha-tpuv6e"),
}


def test_types_have_their_chips_hosts_and_software(launch):
    for accelerator, (topology, chips, hosts, runtime) in SLICES.items():
        options = ("--name", "r", "--type", accelerator, "--dry-run")
        code, lines, said = launch("tpu.sh", "create", *options)
        assert code == 0
        assert f"--runtime-version={runtime} " in lines[0]
        size = f"topology {topology}, {chips} chips on {hosts} hosts, on-demand"
        assert said == [f"tpu.sh: r: {accelerator}, {size}"]
