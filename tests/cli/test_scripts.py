"""The scripts prepare an environment once, and pass options on."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
STUB = '#!/bin/sh\necho "{name} $@ platform=$JAX_PLATFORMS"\n'


@pytest.fixture
def environment(tmp_path):
    """An environment whose programs only say how they are called."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "ruff", "sophia-jax"):
        (programs / name).write_text(STUB.format(name=name))
        (programs / name).chmod(0o755)
    return programs.parent


@pytest.fixture
def script(environment, tmp_path):
    """Runs a script from a folder that is not the project's; gives its lines."""

    def run(name, *options, **variables):
        done = subprocess.run(
            [SCRIPTS / name, *options],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "SOPHIA_VENV": environment} | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    return run


def test_the_quickstart_installs_once_and_passes_options_on(script, environment):
    code, lines, errors = script("quickstart.sh", "--seed", "3")
    assert (code, errors) == (0, [])
    assert lines[0].startswith(f"installing sophia-jax[viz] into {environment}")
    assert "-m pip install" in lines[1]
    run = "sophia-jax quickstart --seed 3 platform=cpu"
    assert lines[2:] == [run]
    assert script("quickstart.sh", "--seed", "3") == (0, [run], [])


def test_another_pyproject_is_installed_anew(script, environment):
    script("quickstart.sh")
    (stamp,) = environment.glob(".sophia-jax-*")
    stamp.write_text("an older one")
    assert script("quickstart.sh")[1][0].startswith("installing")


def test_a_platform_that_was_asked_for_is_left(script):
    assert script("quickstart.sh", JAX_PLATFORMS="cuda")[1][-1].endswith("=cuda")


def test_the_tests_end_with_pytest(script):
    code, lines, _ = script("test.sh", "-k", "name")
    assert code == 0
    assert [line.split(" platform")[0] for line in lines[-3:]] == [
        "ruff check .",
        "ruff format --check .",
        "python -m pytest --numprocesses 2 --dist loadfile "
        "--no-loadscope-reorder -k name",
    ]


def test_an_old_python_is_refused_by_name(script, tmp_path):
    old = tmp_path / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    empty = tmp_path / "empty"
    variables = {"PYTHON": str(old), "SOPHIA_VENV": str(empty)}
    code, _, errors = script("quickstart.sh", **variables)
    assert code == 1
    assert errors == [f"PYTHON: expected Python 3.11 or newer, got {old}"]
    assert not empty.exists()
