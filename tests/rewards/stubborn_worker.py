"""A worker whose answers misbehave in every way that a real one might."""

import os
import signal
import sys
import time

from sophia_jax.rewards.verify_worker import judge, serve


def hang_without_alarms():
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(0.01)


def swallow_a_failed_allocation():
    hoard = []
    try:
        while True:
            hoard.append(bytearray(1 << 24))
    except MemoryError:
        return "wrong"


def misbehave(prediction, answer):
    if prediction == "hang":
        hang_without_alarms()
    if prediction == "exit":
        os._exit(3)
    if prediction == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if prediction == "raise":
        raise RuntimeError("an error that nobody expects")
    if prediction == "allocate":
        return "right" if bytearray(1 << 40) else "wrong"
    if prediction == "swallow":
        return swallow_a_failed_allocation()
    if prediction == "loaded":
        return "right" if "jax" in sys.modules else "wrong"
    if prediction == "process":
        return "right" if os.getpid() == int(answer.split()[1]) else "wrong"
    return judge(prediction, answer)


if __name__ == "__main__":
    serve(misbehave)
