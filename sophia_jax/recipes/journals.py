"""Where the processes of a run note what servers answer them.

A process writes a journal of its own, and reads it when the run goes on. Which requests
are its own follows from how many processes there are: where their number has changed,
the answers are in journals of others.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from jax import process_count, process_index

from sophia_jax.generation.journal import Journal
from sophia_jax.sharding.together import are_several

__all__ = ["all_journals", "count_all", "earlier_journals", "my_journal"]


def my_journal(folder: Path, name: str) -> Path:
    """The one that this process writes.

    Args:
      folder: of a run's journals.
      name: of the server's role in the run.
    """
    if not are_several():
        return folder / f"{name}.jsonl"
    return folder / f"{process_index()}-of-{process_count()}" / f"{name}.jsonl"


def earlier_journals(folder: Path, name: str) -> list[Path]:
    """Those of this run while it had another number of processes; none is written to.

    Args:
      folder: of a run's journals.
      name: of the server's role in the run.
    """
    mine = _processes(my_journal(folder, name))
    return [path for path in all_journals(folder, name) if _processes(path) != mine]


def count_all(folder: Path, name: str) -> Counter[str]:
    """What all processes of the run have counted, however many there were.

    Args:
      folder: of a run's journals.
      name: of the server's role in the run.

    Raises:
      InputError: a journal is damaged.
    """
    counts: Counter[str] = Counter()
    for path in all_journals(folder, name):
        counts.update(Journal(path).counts())
    return counts


def all_journals(folder: Path, name: str) -> list[Path]:
    """Those of all processes of the run, however many there were.

    Args:
      folder: of a run's journals.
      name: of the server's role in the run.
    """
    if not folder.is_dir():
        return []
    of_several = sorted(path for path in folder.iterdir() if "-of-" in path.name)
    paths = [each / f"{name}.jsonl" for each in (folder, *of_several)]
    return [path for path in paths if path.exists()]


def _processes(journal: Path) -> str:
    """How many there were, as its folder says; nothing for one."""
    return journal.parent.name.partition("-of-")[2]
