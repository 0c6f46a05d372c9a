"""Processes that notice at once when one of them dies."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from sophia_jax.preemption import Preempted
from sophia_jax.sharding.together import are_several

__all__ = ["watch_peers"]

CONNECT_SECONDS = 10.0
DONE = b"."
_WATCHED: list[bool] = []  # a block within another one adds nothing


def end_at_once() -> None:
    """Say why, and end: a usual exit waits for the process that died."""
    print(
        "sophia-jax: failed: another process of this run ended; once it can run, the "
        "same command with --resume goes on",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


@contextlib.contextmanager
def watch_peers(on_death: Callable[[], None] = end_at_once) -> Iterator[None]:
    """Within the block, end this process when another one dies.

    What devices of several processes do together hangs when one is gone, until JAX
    misses its heartbeat and aborts. Here each process keeps a connection to the first
    one, which the system closes when either dies. Who leaves the block in peace says
    so. Where no connection comes about, JAX's heartbeat is what is left.

    Args:
      on_death: called in a thread of its own.
    """
    if not are_several() or _WATCHED:
        yield
        return
    _WATCHED.append(True)
    sockets = _connections()
    ended = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(sockets, ended, on_death), daemon=True
    )
    watcher.start()
    in_peace = False
    try:
        yield
        in_peace = True
    except Preempted as preempted:
        in_peace = preempted.together
        raise
    finally:
        _WATCHED.clear()
        ended.set()
        for each in sockets:
            with contextlib.suppress(OSError):
                if in_peace:
                    each.sendall(DONE)
                each.close()


def _connections() -> list[socket.socket]:
    """From the first process to each other one; these have one each."""
    from jax._src.distributed import global_state  # no public name for the address

    first = jax.process_index() == 0
    server = socket.create_server(("", 0)) if first else None
    port = server.getsockname()[1] if first else 0
    port = int(multihost_utils.broadcast_one_to_all(np.int32(port)))
    sockets = []
    with contextlib.suppress(OSError):
        if first:
            with server:
                server.settimeout(CONNECT_SECONDS)
                for _ in range(jax.process_count() - 1):
                    sockets.append(server.accept()[0])
        else:
            host = global_state.coordinator_address.rpartition(":")[0].strip("[]")
            sockets.append(socket.create_connection((host, port), CONNECT_SECONDS))
    for each in sockets:
        each.settimeout(None)
    return sockets


def _watch(
    sockets: list[socket.socket], ended: threading.Event, on_death: Callable[[], None]
) -> None:
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map() and not ended.is_set():
            for key, _ in selector.select(timeout=0.2):
                try:
                    word = key.fileobj.recv(1)
                except OSError:
                    word = b""
                if ended.is_set():
                    return
                selector.unregister(key.fileobj)
                if word != DONE:
                    on_death()
