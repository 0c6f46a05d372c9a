"""What the processes of a run say to each other when they end, and what comes of it."""

import contextlib
import queue
import socket

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
    yield [theirs for _, theirs in pairs]
    for pair in pairs:
        for each in pair:
            each.close()


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (None, b"."),
        (Preempted("SIGTERM", together=True), b"."),
        (Preempted("SIGTERM"), b""),
        (jax.errors.JaxRuntimeError("Gloo: Connection closed by peer"), b""),
        (InputError("limit: expected >= 1"), b"!"),
        (RuntimeError("no"), b"!"),
    ],
)
def test_who_leaves_says_whether_it_failed(connect, error, word):
    with contextlib.suppress(BaseException), peers.watch_peers():
        if error is not None:
            raise error
    assert [each.recv(1) for each in connect] == [word, word]


@pytest.mark.parametrize(("word", "has_failed"), [(b"!", True), (b"", False)])
def test_the_end_of_one_ends_this_one_and_is_passed_on(connect, word, has_failed):
    heard = queue.Queue()
    with peers.watch_peers(heard.put):
        connect[0].sendall(word)
        connect[0].close()
        assert heard.get(timeout=20) == has_failed
        connect[1].settimeout(0.3)
        if has_failed:
            assert connect[1].recv(1) == word
        else:  # it hears so from the connection's end
            with pytest.raises(TimeoutError):
                connect[1].recv(1)


def test_only_a_death_asks_for_a_restart(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(peers.os, "_exit", codes.append)
    peers.end_at_once(False)
    peers.end_at_once(True)
    assert codes == [75, 1]
    lines = capsys.readouterr().err.splitlines()
    assert "another process of the run died; start all of them again" in lines[0]
    assert "another process of the run failed" in lines[1]
