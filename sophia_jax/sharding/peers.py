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

from sophia_jax.preemption import RESTART_CODE, Preempted
from sophia_jax.sharding.together import are_several

__all__ = ["DEATH", "tells_of_a_death", "watch_peers"]

CONNECT_SECONDS = 10.0

# What a process says to the others when it leaves; one that was killed says nothing.
DONE, FAILED = b".", b"!"

DEATH = (
    "sophia-jax: failed: another process of the run died; start all of them again with "
    "--resume"
)
FAILURE = "sophia-jax: failed: another process of the run failed, and has said why"
_WATCHED: list[bool] = []  # a block within another one adds nothing


def end_at_once(has_failed: bool) -> None:
    """Say why, and end: a usual exit waits for the process that is gone.

    Args:
      has_failed: that process; it would again. One that died asks for a restart.
    """
    line, code = (FAILURE, 1) if has_failed else (DEATH, RESTART_CODE)
    print(line, file=sys.stderr, flush=True)
    os._exit(code)


def tells_of_a_death(error: BaseException) -> bool:
    """Whether an error is what the network says of a process that is gone."""
    if not isinstance(error, (jax.errors.JaxRuntimeError, ValueError)):
        return False
    words = ("Gloo", "heartbeat", "Connection", "UNAVAILABLE", "Barrier failed")
    return are_several() and any(word in str(error) for word in words)


@contextlib.contextmanager
def watch_peers(on_end: Callable[[bool], None] = end_at_once) -> Iterator[None]:
    """Within the block, end this process when another one dies.

    What devices of several processes do together hangs when one is gone, until JAX
    misses its heartbeat and aborts. Here each process keeps a connection to the first
    one, which the system closes when either dies. Who leaves the block in peace, or
    since it failed, says so. Where no connection comes about, JAX's heartbeat is what
    is left.

    Args:
      on_end: called in a thread of its own, with whether the other one failed.
    """
    if not are_several() or _WATCHED:
        yield
        return
    _WATCHED.append(True)
    sockets = _connections()
    ended = threading.Event()
    _start_watcher(sockets, ended, on_end)
    word = DONE
    try:
        yield
    except BaseException as error:
        word = _last_word(error)
        raise
    finally:
        _WATCHED.clear()
        ended.set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.sendall(word)
                each.close()


def _last_word(error: BaseException) -> bytes:
    if isinstance(error, Preempted):
        return DONE if error.together else b""
    return b"" if tells_of_a_death(error) else FAILED


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


def _start_watcher(
    sockets: list[socket.socket],
    ended: threading.Event,
    on_end: Callable[[bool], None],
) -> None:
    selector = selectors.DefaultSelector()
    for each in sockets:  # here, since a short block has closed them before the thread
        selector.register(each, selectors.EVENT_READ)
    arguments = (selector, sockets, ended, on_end)
    threading.Thread(target=_watch, args=arguments, daemon=True).start()


def _watch(
    selector: selectors.BaseSelector,
    sockets: list[socket.socket],
    ended: threading.Event,
    on_end: Callable[[bool], None],
) -> None:
    with selector:
        while selector.get_map() and not ended.is_set():
            for key, _ in selector.select(timeout=0.2):
                try:
                    word = key.fileobj.recv(1)
                except OSError:
                    word = b""
                if ended.is_set():
                    return
                selector.unregister(key.fileobj)
                if word == DONE:
                    continue
                for other in sockets:  # the first one stands between the rest
                    with contextlib.suppress(OSError):
                        other.sendall(word)
                on_end(word == FAILED)
