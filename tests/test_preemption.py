"""Signals of preemption: once raised or deferred, the second time the end."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from sophia_jax.completions import sample_in_order
from sophia_jax.preemption import (
    SIGNALS,
    Preempted,
    defer_preemption,
    stop_if_preempted,
    watch_signals,
)
from sophia_jax.types import Completion, Request


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_what_runs(number):
    with watch_signals(), pytest.raises(Preempted, match=number.name):
        signal.raise_signal(number)
        pytest.fail("it went on")


def test_a_deferred_signal_is_told_and_raises_nothing():
    with watch_signals():
        with defer_preemption() as signalled:
            assert signalled() is None
            signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGTERM)
            assert signalled() == "SIGUSR2"
        with pytest.raises(Preempted, match="SIGUSR2"):
            stop_if_preempted()
    stop_if_preempted()  # the next command begins anew


def test_what_a_library_swallowed_stops_the_sampling():
    def generate(requests):
        for sample in range(3):
            if sample == 1:
                with pytest.raises(Preempted):
                    signal.raise_signal(signal.SIGTERM)
            drawn.append(sample)
            yield Completion("q", sample, "", np.zeros(0), None, None, "stop")

    drawn = []
    with watch_signals(), pytest.raises(Preempted):
        sample_in_order(generate, [Request("q", "?", num_samples=3, seed=0)])
    assert drawn == [0, 1]


def test_signals_are_left_as_they_were():
    numbers = (*SIGNALS, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    with watch_signals(), pytest.raises(Preempted):
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(second):
    program = (
        "import signal; from sophia_jax.preemption import *\n"
        "with watch_signals(), defer_preemption():\n"
        "    signal.raise_signal(signal.SIGUSR1)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        f"    signal.raise_signal({int(second)})\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=120)
    assert ended.returncode == -second
