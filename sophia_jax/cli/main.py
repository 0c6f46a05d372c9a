"""The console script: parse, run, and end with an exit code and at most one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tyro

from sophia_jax.buckets import check_buckets
from sophia_jax.cli.align import Align
from sophia_jax.cli.collect import Collect
from sophia_jax.cli.compare import Compare
from sophia_jax.cli.convert import Convert
from sophia_jax.cli.evaluate import Evaluate
from sophia_jax.cli.failures import report_failure
from sophia_jax.cli.frontier import Frontier
from sophia_jax.cli.grpo import Grpo
from sophia_jax.cli.options import TraceOptions
from sophia_jax.cli.plan import Plan
from sophia_jax.cli.quickstart import Quickstart
from sophia_jax.cli.regret import Regret
from sophia_jax.cli.report import Report
from sophia_jax.cli.scale import Scale
from sophia_jax.cli.settings import texts_of
from sophia_jax.cli.train import Train
from sophia_jax.cli.update import Update
from sophia_jax.cli.versus import Versus

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display

__all__ = ["main", "parse"]

COMMANDS = {
    "quickstart": Quickstart,
    "train": Train,
    "collect": Collect,
    "update": Update,
    "grpo": Grpo,
    "align": Align,
    "evaluate": Evaluate,
    "versus": Versus,
    "frontier": Frontier,
    "compare": Compare,
    "regret": Regret,
    "scale": Scale,
    "plan": Plan,
    "convert": Convert,
    "report": Report,
}
DESCRIPTION = (
    "Semi-off-policy reinforcement learning for vision-language models: a model "
    "describes pictures, a text-only reasoner answers from its words, and the model "
    "learns from what turned out right. `sophia-jax COMMAND --help` tells its options. "
    "A run that is stopped by SIGTERM, SIGUSR1 or SIGUSR2 saves what it has and exits "
    "with 75, and so does one of several processes when another of them died: the same "
    "command with --resume goes on."
)


def parse(arguments: Sequence[str] | None = None) -> Any:
    """The command that arguments ask for, with its options; it is not run.

    Args:
      arguments: without the program's name; None for those of this process.

    Raises:
      SystemExit: with 0 after help, with 2 where there is no such command or option.
    """
    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="sophia-jax",
        description=DESCRIPTION,
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
      arguments: without the program's name; None for those of this process.

    Returns:
      0, 2 where something that was given cannot be used, 1 for any other failure, 130
      when interrupted, 75 when stopped by a signal (SIGTERM, SIGUSR1, SIGUSR2), or
      since another process of the run died.
    """
    command = parse(arguments)
    # After parsing, since these load JAX.
    from sophia_jax.cli.progress import Display
    from sophia_jax.cli.surroundings import prepare
    from sophia_jax.preemption import Preempted, watch_signals
    from sophia_jax.sharding.hosts import leave_hosts
    from sophia_jax.sharding.peers import watch_peers
    from sophia_jax.sharding.together import is_first

    display = Display()
    try:
        check_buckets(texts_of(command))
        prepare(getattr(command, "hosts", None))
        if not is_first():
            display.fall_silent()
        with watch_signals(), watch_peers():
            run(command, display)
    except (Exception, KeyboardInterrupt, Preempted) as error:
        display.close()
        line, code = report_failure(error, command.folder)
        print(line, file=sys.stderr)
        if not getattr(error, "together", False):  # else all end, and wait for all
            leave_hosts(code)
        return code
    return 0


def run(command: Any, display: Display) -> None:
    """Run a command, list the programs that it compiled, and trace it on request."""
    if not isinstance(getattr(command, "trace", None), TraceOptions):
        command.run(display)
        return
    from sophia_jax.cli.programs import Programs, traced
    from sophia_jax.recipes.run_folder import write_json

    programs, trace = Programs(), command.trace
    with traced(
        command.folder / "profile",
        after_seconds=trace.profile_after_seconds,
        seconds=trace.profile_seconds,
    ):
        command.run(display)
    write_json(command.folder / "programs.json", programs.summary())
    display.say(programs.line())
