"""Help comes at once, and says what options mean."""

import subprocess
import sys

import pytest

import sophia_jax
from sophia_jax.cli.main import COMMANDS, main


def test_the_module_tells_all_commands_without_loading_jax():
    code = (
        "import runpy, sys, atexit;"
        "heavy = {'jax', 'numpy'};"
        "atexit.register(lambda: print('heavy', sys.modules.keys() & heavy));"
        "sys.argv = ['sophia-jax', '--help'];"
        "runpy.run_module('sophia_jax', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert all(f"• {name}" in done.stdout for name in COMMANDS)
    assert done.stdout.endswith("heavy set()\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_every_option(name, capsys):
    with pytest.raises(SystemExit) as exit:
        main([name, "--help"])
    assert exit.value.code == 0
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert " ".join(COMMANDS[name].__doc__.split()) in words
    assert "--no-" not in words


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"sophia-jax {sophia_jax.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["trian"], ["evaluate", "--seed", "x"], ["report"], ["collect", "--out", "x"]],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert capsys.readouterr().err
