"""The questions of a run, and the pictures that they are about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sophia_jax.data.sources import read_source
from sophia_jax.paths import as_path
from sophia_jax.types import Item

__all__ = ["find_pictures", "read_questions"]

MOST = 4  # pictures of a question that are shown


def read_questions(
    run_folder: Path, data: str | None, part: str = "train"
) -> dict[str, Item]:
    """The questions that a run was about, as far as they can be found.

    Args:
      run_folder: with `data/train`, unless the run was about the user's own data.
      data: path of those, as it was given to the run.
      part: of the run's own data, instead of `train`.

    Returns:
      Each question by its id; bad rows are left out, as the run did or refused to.

    Raises:
      InputError: the question file is there and cannot be read.
    """
    for source in _sources(run_folder, data, part):
        read = read_source(source, skip_bad_rows=True, check_pictures=False)
        return {item.id: item for item in read.items}
    return {}


def find_pictures(
    run_folder: Path, paths: Sequence[str]
) -> tuple[tuple[Path, ...], int]:
    """Pictures by the paths that a table or a question file holds.

    Args:
      run_folder: paths are tried as they are, then from here, then from the held-out
        questions.
      paths: as stored; the first MOST of them are looked for.

    Returns:
      The paths of those that are there, and how many are not.
    """
    wanted = paths[:MOST]
    found = [_find(run_folder, path) for path in wanted]
    there = tuple(path for path in found if path is not None)
    return there, len(wanted) - len(there)


def _find(run_folder: Path, path: str) -> Path | None:
    held_out = run_folder / "data" / "held_out"
    places = [as_path(path), run_folder / path, held_out / path]
    places.append(held_out / "images" / Path(path).name)
    return next(filter(_is_file, places), None)


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except OSError:  # a name that no disk takes
        return False


def _sources(run_folder: Path, data: str | None, part: str) -> Iterator[str | Path]:
    """Where the questions may be, as far as something is there."""
    own = run_folder / "data" / part
    if (own / "items.jsonl").is_file():
        yield own
    for source in (as_path(data), run_folder / data) if data else ():
        if source.exists() or "*" in source.name:
            yield source
    if data and data.startswith("tfds:"):
        yield data
