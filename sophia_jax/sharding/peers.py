"""Processes that notice at once when one of them ends, and end with it."""

from __future__ import annotations

import contextlib
import hmac
import itertools
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import jax

from sophia_jax.preemption import RESTART_CODE, Preempted
from sophia_jax.sharding.together import are_several, is_first, wait_for_all

__all__ = ["PeerEnded", "end_at_once", "tells_of_a_death", "watch_peers"]

CONNECT_SECONDS = 10.0
HELLO_SECONDS = 1.0  # for what connects to say who it is
GRACE_SECONDS = 5.0  # to find out by oneself what another one has found out
LINGER_SECONDS = GRACE_SECONDS + 2
HEAR_SECONDS = 1.0  # that the word of who left may take, after the network's error

# What a process says to the others when it leaves: that it is done, that it failed, or
# that it was stopped. One that was killed says nothing.
DONE, FAILED, STOPPED = b".", b"!", b"~"

_count = itertools.count()
_watching = threading.Lock()  # a block within another one adds nothing


class PeerEnded(RuntimeError):
    """This process ends since another one did.

    Attributes:
      code: to exit with. What failed would again; what died asks for a restart.
    """

    def __init__(self, *, has_failed: bool):
        self.code = 1 if has_failed else RESTART_CODE
        super().__init__(
            "another process of the run failed, and has said why"
            if has_failed
            else "another process of the run died; start all of them again with "
            "--resume"
        )


def end_at_once(has_failed: bool) -> None:
    """Say why, and end: a usual exit waits for the process that is gone.

    Args:
      has_failed: that process, rather than died.
    """
    end = PeerEnded(has_failed=has_failed)
    print(f"sophia-jax: failed: {end}", file=sys.stderr, flush=True)
    os._exit(end.code)


def tells_of_a_death(error: BaseException) -> bool:
    """Whether an error is what the network says of a process that is gone."""
    if not isinstance(error, (jax.errors.JaxRuntimeError, ValueError)):
        return False
    words = ("Gloo", "heartbeat", "Connection", "UNAVAILABLE", "Barrier failed")
    return are_several() and any(word in str(error) for word in words)


@contextlib.contextmanager
def watch_peers(on_end: Callable[[bool], None] = end_at_once) -> Iterator[None]:
    """Within the block, end this process when another one ends before its time.

    What devices of several processes do together hangs when one is gone, until JAX
    misses its heartbeat and aborts. Here each process keeps a connection to the first
    one, which the system closes when either dies. Who leaves the block in peace, or
    since it failed, says so; then the others have a few seconds to fail by themselves,
    with what they have to say, as they do where all were given the same mistake. Where
    no connection comes about, JAX's heartbeat is what is left.

    Args:
      on_end: called in a thread of its own, with whether the other one failed.

    Raises:
      PeerEnded: what was raised in the block comes of another process that is gone.
    """
    if not are_several() or not _watching.acquire(blocking=False):
        yield
        return
    try:
        watcher, word = _Watcher(_connections(), on_end), DONE
        try:
            yield
        except BaseException as error:
            word = _last_word(error)
            if tells_of_a_death(error):
                raise PeerEnded(has_failed=watcher.hears_of_a_failure()) from error
            raise
        finally:
            watcher.leave(word)
    finally:
        _watching.release()


def _last_word(error: BaseException) -> bytes:
    if isinstance(error, Preempted):
        return DONE if error.together else STOPPED
    return STOPPED if tells_of_a_death(error) else FAILED


class _Watcher:
    """A thread that listens for the others' last words.

    Args:
      sockets: to others.
      on_end: as of `watch_peers`.
    """

    def __init__(self, sockets: list[socket.socket], on_end: Callable[[bool], None]):
        self._sockets, self._on_end = sockets, on_end
        self._word = b""
        self._heard, self._left = threading.Event(), threading.Event()
        selector = selectors.DefaultSelector()
        for each in sockets:  # here, since a short block closes them before the thread
            selector.register(each, selectors.EVENT_READ)
        self._thread = threading.Thread(
            target=self._listen, args=(selector,), daemon=True
        )
        self._thread.start()

    def hears_of_a_failure(self) -> bool:
        """Whether another process has said that it failed; waits a moment for it."""
        return self._heard.wait(HEAR_SECONDS) and self._word == FAILED

    def leave(self, word: bytes) -> None:
        """Say the last word, and listen no more.

        JAX aborts the others when the first process ends, whatever they would say: so
        it stays until they are gone.
        """
        self._left.set()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.sendall(word)
                each.shutdown(socket.SHUT_WR)
        if is_first() and word != DONE:
            self._thread.join(LINGER_SECONDS)  # it reads from them too
            deadline = time.monotonic() + LINGER_SECONDS
            for each in self._sockets:
                while _read(each, 1, deadline):
                    pass
        for each in self._sockets:
            each.close()

    def _listen(self, selector: selectors.BaseSelector) -> None:
        with selector:
            while selector.get_map() and not self._left.is_set():
                for key, _ in selector.select(timeout=0.2):
                    word = _read(key.fileobj, 1)
                    if self._left.is_set():
                        return
                    selector.unregister(key.fileobj)
                    if word != DONE:
                        self._end(word)

    def _end(self, word: bytes) -> None:
        """End as another process did, unless this one leaves by itself."""
        self._word = word
        self._heard.set()
        for other in self._sockets:  # the first one stands between the rest
            with contextlib.suppress(OSError):
                other.sendall(word)
        # One that was killed may be the first: JAX aborts soon, and says less.
        grace = LINGER_SECONDS if is_first() else GRACE_SECONDS
        if not word or not self._left.wait(grace):
            self._on_end(word == FAILED)


def _connections() -> list[socket.socket]:
    """From the first process to each other one; these have one each.

    Whatever else connects to the port is sent away: each side says a half of a secret,
    which JAX's coordinator hands to the processes of the run.
    """
    from jax._src.distributed import global_state  # no public name for these

    name, server = f"sophia_jax/peers/{next(_count)}", None
    if jax.process_index() == 0:
        # A host's own name may stand for its loopback alone: so on all interfaces.
        server = socket.create_server(("", 0))
        port, secret = server.getsockname()[1], secrets.token_hex(32)
        global_state.client.key_value_set(name, f"{port} {secret}")
    wait_for_all("connections")
    milliseconds = int(CONNECT_SECONDS * 1000)
    told = global_state.client.blocking_key_value_get(name, milliseconds)
    port, secret = told.split()
    halves = secret[:32].encode(), secret[32:].encode()
    if server is not None:
        with server:
            return _accepted(server, jax.process_count() - 1, *halves)
    host = global_state.coordinator_address.rpartition(":")[0].strip("[]")
    return _connected((host, int(port)), *halves)


def _accepted(
    server: socket.socket, number: int, theirs: bytes, ours: bytes
) -> list[socket.socket]:
    """As many connections as come in time from processes of the run."""
    sockets: list[socket.socket] = []
    deadline = time.monotonic() + CONNECT_SECONDS
    with contextlib.suppress(OSError):
        while len(sockets) < number:
            server.settimeout(max(deadline - time.monotonic(), 1e-3))
            each = server.accept()[0]
            said = _read(each, len(theirs), time.monotonic() + HELLO_SECONDS)
            if hmac.compare_digest(said, theirs) and _send(each, ours):
                sockets.append(each)
            else:
                each.close()
    return sockets


def _connected(
    address: tuple[str, int], ours: bytes, theirs: bytes
) -> list[socket.socket]:
    """The connection to the first process, if that is what is there."""
    with contextlib.suppress(OSError):
        each = socket.create_connection(address, CONNECT_SECONDS)
        # It hears others before this one, for as long as it accepts any.
        deadline = time.monotonic() + CONNECT_SECONDS + HELLO_SECONDS
        if _send(each, ours) and _read(each, len(theirs), deadline) == theirs:
            return [each]
        each.close()
    return []


def _send(to: socket.socket, content: bytes) -> bool:
    with contextlib.suppress(OSError):
        to.sendall(content)
        return True
    return False


def _read(source: socket.socket, size: int, deadline: float | None = None) -> bytes:
    """So many bytes; fewer where the connection ends, or the time does."""
    read = b""
    with contextlib.suppress(OSError):
        while len(read) < size:
            if deadline is not None:
                source.settimeout(max(deadline - time.monotonic(), 1e-3))
            if not (more := source.recv(size - len(read))):
                break
            read += more
        source.settimeout(None)
    return read
