"""The launchers, with programs that only write down how they are called."""

import os
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "scripts" / "launch"
PROGRAMS = ("gcloud", "kubectl", "xpk", "sbatch", "scontrol", "scancel", "srun")
PROGRAMS += ("squeue", "ssh", "scp", "git")
FAKE = r"""#!/usr/bin/env bash
call="${0##*/} $*"
printf '%s\n' "$call" >>"$FAKE/calls"
for file in "$FAKE"/answers/*; do
  { read -r code && read -r words; } <"$file" 2>/dev/null || continue
  [[ $call == *"$words"* ]] || continue
  sed 1,2d "$file"
  rm "$file"
  exit "$code"
done
"""


@pytest.fixture
def launch(tmp_path):
    """Runs a launcher; gives its exit code, and the lines that it printed and said."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(FAKE)
        (programs / name).chmod(0o755)
    (tmp_path / "answers").mkdir()
    path = f"{programs}:{os.environ['PATH']}"
    fixed = {"PATH": path, "FAKE": str(tmp_path), "HOME": str(tmp_path)}

    def run(script, *options, **variables):
        done = subprocess.run(
            [LAUNCH / script, *options],
            cwd=tmp_path,
            env=fixed | {"PROJECT": "p-1", "ZONE": "us-east5-b"} | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    return run


@pytest.fixture
def answer(tmp_path):
    """Lets the next call that holds some words print lines, and exit with a code."""
    count = iter(range(1000))

    def add(words, *lines, code=0):
        text = "".join(f"{line}\n" for line in (code, words, *lines))
        (tmp_path / "answers" / f"{next(count):03}").write_text(text)

    return add


@pytest.fixture
def calls(tmp_path):
    """Gives the calls of programs until now."""

    def read():
        log = tmp_path / "calls"
        return log.read_text().splitlines() if log.exists() else []

    return read
