"""Commands that run models may be run by several processes together."""

import pytest

from sophia_jax.cli.main import main
from sophia_jax.sharding import hosts

TEXTS = ("--policy", "p", "--reasoner", "r", "--data", "d", "--out", "out")
COMMANDS = {
    "train": TEXTS,
    "collect": TEXTS,
    "update": ("--run", "out"),
    "evaluate": ("--model", "m", "--data", "d", "--out", "out"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_joins_the_others_before_it_does_anything(
    command, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    joined = []

    def join(**settings):
        joined.append(settings)
        raise hosts.InputError("NNODES: expected another")

    monkeypatch.setattr(hosts, "initialize_hosts", join)
    flags = ("--coordinator", "a:1", "--num-processes", "2", "--process-id", "1")
    assert main([command, *COMMANDS[command], *flags]) == 2
    assert joined == [{"coordinator": "a:1", "num_processes": 2, "process_id": 1}]
    assert capsys.readouterr().err == "sophia-jax: error: NNODES: expected another\n"
    assert list(tmp_path.iterdir()) == []


def test_half_an_address_is_refused_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["update", "--run", "out", "--process-id", "1"]) == 2
    assert capsys.readouterr().err == (
        "sophia-jax: error: --coordinator: expected a value beside --process-id, "
        "got none\n"
    )
