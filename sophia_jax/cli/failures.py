"""What went wrong, as one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from collections.abc import Iterator
from pathlib import Path

from sophia_jax.cli.help_pages import help_page

__all__ = ["report_failure"]

FULL = (errno.ENOSPC, errno.EDQUOT)  # which libraries wrap in errors of their own
FORBIDDEN = (errno.EACCES, errno.EROFS)


def report_failure(error: BaseException, folder: Path | None) -> tuple[str, int]:
    """Say what went wrong; the traceback of a failure goes to `error.log`.

    Args:
      error: that ended the command.
      folder: of the run; None where the command has none.

    Returns:
      One line, which names a page of the docs where one helps, and the exit code.
    """
    from sophia_jax.types import InputError

    line, code = _describe(error, folder)
    name = "" if isinstance(error, InputError) else f"{type(error).__name__} "
    page = help_page(f"{name}{error}")
    return f"{line}; see {page}" if page else line, code


def _describe(error: BaseException, folder: Path | None) -> tuple[str, int]:
    from sophia_jax.preemption import RESTART_CODE, Preempted
    from sophia_jax.sharding.peers import PeerEnded, tells_of_a_death
    from sophia_jax.types import InputError

    if isinstance(error, Preempted):
        line = f"sophia-jax: stopped by {error}; all that was whole is saved"
        return f"{line}: the same command with --resume goes on", RESTART_CODE
    if isinstance(error, KeyboardInterrupt):
        return "sophia-jax: interrupted; the same command with --resume goes on", 130
    if isinstance(error, InputError):
        return f"sophia-jax: error: {' '.join(str(error).split())}", 2
    for cause in _causes(error):
        if not isinstance(cause, OSError):
            continue
        if cause.errno in FULL or (cause is error and cause.errno in FORBIDDEN):
            where = cause.filename or folder or "disk"
            return f"sophia-jax: error: {where}: {os.strerror(cause.errno).lower()}", 2
    message = str(error).strip().partition("\n")[0] or "no message"
    if tells_of_a_death(error):  # where nothing watches yet
        error = PeerEnded(has_failed=False)
    if isinstance(error, PeerEnded):
        return f"sophia-jax: failed: {error}", error.code
    line = f"sophia-jax: failed: {type(error).__name__}: {message}"
    return f"{line} ({_leave_traceback(error, folder)})", 1


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _leave_traceback(error: BaseException, folder: Path | None) -> str:
    """Keep the traceback in a run's own folder, or show it on demand; say where."""
    if os.environ.get("SOPHIA_JAX_TRACEBACK") == "1":
        traceback.print_exception(error)
        return "traceback above"
    from sophia_jax.paths import write_whole

    # The errors of a bucket are not all of one kind.
    with contextlib.suppress(Exception):
        if folder is not None and (folder / "config.json").is_file():
            log = folder / "error.log"
            write_whole(log, "".join(traceback.format_exception(error)))
            return f"traceback in {log}"
    return "SOPHIA_JAX_TRACEBACK=1 shows the traceback"
