"""Training rows that stand in a benchmark are left out, and listed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sophia_jax.data.good_rows import ItemFile
from sophia_jax.data.leaks import find_leaks
from sophia_jax.recipes.questions import read_questions
from sophia_jax.types import InputError, Track, untracked

__all__ = ["drop_leaks"]


def drop_leaks(
    questions: ItemFile,
    benchmarks: Sequence[str],
    where: str | Path,
    *,
    skip_bad_rows: bool,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> ItemFile:
    """The questions that share neither text nor picture with a benchmark's row.

    Args:
      questions: to be learnt from.
      benchmarks: sources, as of `read_source`; their answers are not looked at.
      where: the source of the questions, for messages.
      skip_bad_rows: compare with a benchmark's good rows, instead of refusing it.
      track: shows how many pictures were read.
      say: prints a line for each benchmark.

    Returns:
      The questions that are left, and the list with those that are not.

    Raises:
      InputError: a benchmark cannot be read, or nothing is left.
    """
    if not benchmarks:
        return questions
    read = {
        benchmark: read_questions(
            benchmark, skip_bad_rows=skip_bad_rows, use="compare", track=track, say=say
        )
        for benchmark in benchmarks
    }
    theirs = {benchmark: each.items for benchmark, each in read.items()}
    listed: dict[str, str] = {}
    for benchmark, leaks in find_leaks(questions.items, theirs, track=track).items():
        for name, leak in leaks.items():
            listed.setdefault(name, f"{where}: id {name}: {leak}, of {benchmark}")
        bad = len(read[benchmark].skipped)
        unread = f"; {bad} bad rows not compared" if bad else ""
        say(
            f"exclude    {len(leaks)} rows that stand in {benchmark} "
            f"({len(theirs[benchmark])} rows{unread})"
        )
    left = tuple(item for item in questions.items if item.id not in listed)
    if not left:
        raise InputError(
            f"{where}: expected a row that stands in no benchmark, got none; the "
            f"first: {next(iter(listed.values()))}"
        )
    return ItemFile(items=left, skipped=questions.skipped + tuple(listed.values()))
