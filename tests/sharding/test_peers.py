"""What the processes of a run say to each other when they end, and what comes of it."""

import contextlib
import queue
import socket
import threading

import jax
import pytest

from sophia_jax.preemption import Preempted
from sophia_jax.sharding import peers
from sophia_jax.types import InputError


@pytest.fixture
def connect(monkeypatch):
    """Connections of this process to two others; gives the others' ends."""
    pairs = [socket.socketpair() for _ in range(2)]
    monkeypatch.setattr(peers, "are_several", lambda: True)
    monkeypatch.setattr(peers, "_connections", lambda: [ours for ours, _ in pairs])
    for name in ("GRACE_SECONDS", "LINGER_SECONDS", "HEAR_SECONDS"):
        monkeypatch.setattr(peers, name, 0.2)
    yield [theirs for _, theirs in pairs]
    for pair in pairs:
        for each in pair:
            each.close()


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (None, b"."),
        (Preempted("SIGTERM", together=True), b"."),
        (Preempted("SIGTERM"), b"~"),
        (jax.errors.JaxRuntimeError("Gloo: Connection closed by peer"), b"~"),
        (InputError("limit: expected >= 1"), b"!"),
        (RuntimeError("no"), b"!"),
    ],
)
def test_who_leaves_says_whether_it_failed(connect, error, word):
    with contextlib.suppress(BaseException), peers.watch_peers():
        if error is not None:
            raise error
    assert [each.recv(1) for each in connect] == [word, word]


@pytest.mark.parametrize(
    ("word", "has_failed"), [(b"!", True), (b"~", False), (b"", False)]
)
def test_the_end_of_one_ends_this_one_and_is_passed_on(connect, word, has_failed):
    heard = queue.Queue()
    with peers.watch_peers(heard.put):
        connect[0].sendall(word)
        connect[0].close()
        assert heard.get(timeout=20) == has_failed
        connect[1].settimeout(0.3)
        if word:
            assert connect[1].recv(1) == word
        else:  # it hears so from the connection's end
            with pytest.raises(TimeoutError):
                connect[1].recv(1)


def test_who_finds_the_same_mistake_by_itself_says_so(connect, monkeypatch):
    monkeypatch.setattr(peers, "LINGER_SECONDS", 20)
    heard = queue.Queue()
    with pytest.raises(InputError, match="limit"), peers.watch_peers(heard.put):
        connect[0].sendall(b"!")
        connect[0].close()
        assert connect[1].recv(1) == b"!"  # it has been heard
        connect[1].close()
        raise InputError("limit: expected >= 1")
    with pytest.raises(queue.Empty):
        heard.get(timeout=0.5)


def test_the_first_process_stays_until_those_that_it_would_take_along_are_gone(
    connect, monkeypatch
):
    monkeypatch.setattr(peers, "LINGER_SECONDS", 20)
    left = threading.Event()

    def fail():
        with contextlib.suppress(RuntimeError), peers.watch_peers():
            raise RuntimeError
        left.set()

    threading.Thread(target=fail).start()
    assert connect[0].recv(1) == b"!"
    connect[0].close()
    assert not left.wait(0.3)
    connect[1].close()
    assert left.wait(10)


@pytest.mark.parametrize(("word", "code"), [(b"!", 1), (b"~", 75), (b"", 75)])
def test_what_the_network_says_is_told_by_what_the_other_said(connect, word, code):
    with pytest.raises(peers.PeerEnded) as ended, peers.watch_peers(lambda failed: 0):
        connect[0].sendall(word)
        connect[0].close()
        raise jax.errors.JaxRuntimeError("Gloo: Connection closed by peer")
    assert ended.value.code == code


def test_a_stranger_is_sent_away():
    with socket.create_server(("localhost", 0)) as server:
        address = server.getsockname()
        found = queue.Queue()
        theirs, ours = b"t" * 32, b"o" * 32

        def accept():
            found.put(peers._accepted(server, 1, theirs, ours))

        threading.Thread(target=accept).start()
        with socket.create_connection(address) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            stranger.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        [mine] = peers._connected(address, theirs, ours)
        [accepted] = found.get(timeout=10)
        mine.sendall(b"!")
        assert accepted.recv(1) == b"!"
        mine.close()
        accepted.close()


def test_what_is_not_the_first_process_is_left():
    with socket.create_server(("localhost", 0)) as server:

        def answer():
            other = server.accept()[0]
            other.sendall(b"x" * 32)
            other.close()

        threading.Thread(target=answer).start()
        assert peers._connected(server.getsockname(), b"t" * 32, b"o" * 32) == []


def test_only_a_death_asks_for_a_restart(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(peers.os, "_exit", codes.append)
    peers.end_at_once(False)
    peers.end_at_once(True)
    assert codes == [75, 1]
    lines = capsys.readouterr().err.splitlines()
    assert "another process of the run died; start all of them again" in lines[0]
    assert "another process of the run failed" in lines[1]
