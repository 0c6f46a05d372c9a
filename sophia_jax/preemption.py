"""Signals that a machine is taken away: what can be saved is saved, then the run ends.

Between stages, and within those that store shards, the first signal raises `Preempted`
where the program stands: everything there is stored whole or not at all. An update
phase defers it to its next step, since there is something to save. A second SIGTERM, or
SIGINT after the first, ends the process at once.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = [
    "RESTART_CODE",
    "Preempted",
    "defer_preemption",
    "stop_if_preempted",
    "watch_signals",
]

RESTART_CODE = 75  # EX_TEMPFAIL of sysexits.h: run the same command again

# SLURM is told which of them it sends ahead of time: `sbatch --signal=USR1@120`.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Preempted(BaseException):
    """The machine is to be given back; the same command goes on elsewhere.

    As a KeyboardInterrupt it is no Exception, so that nothing goes on after it.

    Attributes:
      together: all processes of the run end at the same step, so that none waits.
    """

    def __init__(self, name: str, *, together: bool = False):
        super().__init__(name)
        self.together = together


class _Signals:
    """What came so far; one for the process, as signals are.

    Attributes:
      received: name of the first one, or None.
      deferrals: blocks of `defer_preemption` that are being run, in any thread.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self.deferrals = 0
        self.lock = threading.Lock()

    def note(self, number: int, frame: object) -> None:
        """Handle a signal, in the main thread."""
        if number == signal.SIGTERM:
            for last in (signal.SIGTERM, signal.SIGINT):
                signal.signal(last, signal.SIG_DFL)
        if self.received is not None:
            return
        self.received = signal.Signals(number).name
        if not self.deferrals:
            raise Preempted(self.received)


_SIGNALS = _Signals()


@contextlib.contextmanager
def watch_signals() -> Iterator[None]:
    """Heed the signals of preemption within the block; in the main thread only."""
    numbers = (*SIGNALS, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in SIGNALS:
        signal.signal(number, _SIGNALS.note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _SIGNALS.received = None


@contextlib.contextmanager
def defer_preemption() -> Iterator[Callable[[], str | None]]:
    """Within the block a signal raises nothing.

    Yields:
      Gives the name of the signal that came, or None; who sees one saves what there is
      to save, leaves the block, and raises `Preempted`.
    """
    with _SIGNALS.lock:
        _SIGNALS.deferrals += 1
    try:
        yield lambda: _SIGNALS.received
    finally:
        with _SIGNALS.lock:
            _SIGNALS.deferrals -= 1


def stop_if_preempted() -> None:
    """Raise `Preempted` if a signal came, and nothing has come of it.

    What a signal raises is lost where Python stands in a callback of a library.
    """
    if _SIGNALS.received is not None:
        raise Preempted(_SIGNALS.received)
