"""The folder of a run: settings on top, never overwritten by accident."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sophia_jax.paths import make_folder, remove_tree, write_whole
from sophia_jax.types import InputError

__all__ = [
    "check_run_folder",
    "count_reasons",
    "open_run_folder",
    "read_seconds",
    "remove_leftovers",
    "stopwatch",
    "write_json",
    "write_skipped",
]

SETTINGS = "config.json"
SECONDS = "seconds.json"
_RULE = re.compile(r": ([\w-]+): expected (.+?), got ")


def open_run_folder(
    folder: Path, settings: dict[str, Any], *, resume: bool, force: bool
) -> None:
    """Make a run's folder, or check that the one that exists may be used.

    Args:
      folder: of the run.
      settings: everything that the results depend on; kept in `config.json`.
      resume: go on with a run of the same settings.
      force: delete what an earlier run left in the folder.

    Raises:
      InputError: as `check_run_folder`.
    """
    check_run_folder(folder, settings, resume=resume, force=force)
    if force:
        remove_tree(folder)
    if not (folder / SETTINGS).exists():
        make_folder(folder)
        write_json(folder / SETTINGS, _as_json(settings))


def check_run_folder(
    folder: Path, settings: dict[str, Any], *, resume: bool, force: bool
) -> None:
    """Whether `open_run_folder` would agree; nothing is made or deleted.

    Args:
      folder: of the run.
      settings: everything that the results depend on.
      resume: go on with a run of the same settings.
      force: delete what an earlier run left in the folder.

    Raises:
      InputError: both or neither are given and the folder exists; or it is not a
        run's; or the settings differ (names each).
    """
    if resume and force:
        raise InputError("--resume, --force: expected one of them, got both")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out: expected a folder, got the file {folder}")
    # A file that a killed run was about to write is not there.
    if not folder.exists() or all(map(_is_unfinished, folder.iterdir())):
        return
    if not (folder / SETTINGS).is_file():
        raise InputError(f"--out: {folder} exists and holds no run; choose another")
    if resume:
        _check_settings(folder / SETTINGS, _as_json(settings))
    elif not force:
        raise InputError(
            f"--out: {folder} exists; --resume goes on with it, --force deletes it"
        )


def remove_leftovers(path: Path) -> None:
    """Delete what killed runs left of a folder that they were writing at `path`."""
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        remove_tree(leftover)


def _is_unfinished(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _as_json(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are read back."""
    return json.loads(json.dumps(settings, default=str))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that appears whole or not at all."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def write_skipped(folder: Path, lines: Sequence[str]) -> None:
    """List the rows that were left out in `skipped.txt`; no file for none."""
    path = folder / "skipped.txt"
    path.unlink(missing_ok=True)
    if lines:
        write_whole(path, "".join(f"{line}\n" for line in lines))


def count_reasons(lines: Sequence[str]) -> dict[str, int]:
    """How many of the lines of `skipped.txt` name each field and rule.

    Args:
      lines: as they are written.

    Returns:
      Numbers by "answer: a non-empty string or a number", the most frequent first.
    """
    found = (_RULE.search(line) for line in lines)
    reasons = Counter(f"{each[1]}: {each[2]}" if each else "other" for each in found)
    return dict(reasons.most_common())


@contextmanager
def stopwatch(folder: Path, stage: str) -> Iterator[None]:
    """Add a stage's wall-clock time to `seconds.json`, over all tries of a run."""
    start = time.perf_counter()
    try:
        yield
    finally:
        path = folder / SECONDS
        seconds = json.loads(path.read_text()) if path.exists() else {}
        spent = seconds.get(stage, 0.0) + time.perf_counter() - start
        write_json(path, {**seconds, stage: spent})


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the run's settings: {error}") from error
    changed = [
        f"{name} was {before.get(name)}, is {settings.get(name)}"
        for name in sorted(before.keys() | settings.keys())
        if before.get(name) != settings.get(name)
    ]
    if changed:
        raise InputError(
            f"--resume: expected the settings in {path}; " + "; ".join(changed)
        )


def read_seconds(folder: Path) -> dict[str, float]:
    """Wall-clock time of each stage so far, and their sum as `total`."""
    seconds = json.loads((folder / SECONDS).read_text())
    return {**seconds, "total": sum(seconds.values())}
