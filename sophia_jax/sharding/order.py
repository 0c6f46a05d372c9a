"""Programs of several devices, started in one order on all of them."""

from __future__ import annotations

import contextlib
import threading
from contextlib import AbstractContextManager

from sophia_jax.sharding.rules import Partition

__all__ = ["in_order"]

_starting = threading.Lock()


def in_order(partition: Partition | None) -> AbstractContextManager:
    """Within it, a thread starts a program; another thread's comes before or after.

    Devices that exchange data wait for each other. Two threads that start programs on
    the same devices could start them in one order here and in the other there, and
    both would wait for ever. What one device does alone needs no order.

    Args:
      partition: of the program's arrays.
    """
    if partition is None or partition.mesh.size == 1:
        return contextlib.nullcontext()
    return _starting
