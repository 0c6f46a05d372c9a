"""A child process that judges answers, as its parent sees it."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import subprocess
import sys
import time

from sophia_jax.rewards.rules import RuleName

__all__ = ["Case", "VerifyProcess"]

# Importing math-verify takes seconds; a busy machine may need many times that.
START_SECONDS = 300.0

Case = tuple[str | None, str]  # extracted answer, right answer


class VerifyProcess:
    """One child process: starting, then resting or busy with a case until a deadline.

    A fresh interpreter: a fork would copy jax's threads in an unknown state, and
    multiprocessing's spawn would run the user's main script again.
    """

    def __init__(self, module: str, memory_bytes: int, rule: RuleName):
        self.connection, theirs = multiprocessing.Pipe()
        search_path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        arguments = [module, str(theirs.fileno()), str(memory_bytes), rule]
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", *arguments],
                env={**os.environ, "PYTHONPATH": search_path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is for the parent
            )
        self.starting = True
        self.case: Case | None = None
        self.deadline = time.monotonic() + START_SECONDS

    @property
    def resting(self) -> bool:
        """Whether it waits for a case."""
        return not self.starting and self.case is None

    def rest(self) -> None:
        """Note that it waits for a case."""
        self.starting, self.case, self.deadline = False, None, math.inf

    def send(self, case: Case, timeout_seconds: float) -> None:
        """Give it a case, with a deadline."""
        self.case, self.deadline = case, time.monotonic() + timeout_seconds
        with contextlib.suppress(OSError):  # dead: `receive` will say so
            self.connection.send_bytes(json.dumps(case).encode())

    def receive(self) -> str:
        """What it reports: "ready", a verdict, "memory"; or "dead", for it."""
        try:
            return self.connection.recv_bytes().decode()
        except (EOFError, OSError):
            return "dead"

    def kill(self) -> None:
        """End it, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self.connection.close()
