"""The questions of a run, and the pictures that they are about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sophia_jax.data.sources import read_source
from sophia_jax.paths import as_path
from sophia_jax.types import Item
from sophia_jax.viz.pictures import Picture, embed_picture

__all__ = ["find_picture", "read_questions"]


def read_questions(run_folder: Path, data: str | None) -> dict[str, Item]:
    """The questions that the rollouts were about, as far as they can be found.

    Args:
      run_folder: with `data/train`, unless the run was about the user's own data.
      data: path of those, as it was given to the run.

    Returns:
      Each question by its id; bad rows are left out, as the run did or refused to.

    Raises:
      InputError: the question file is there and cannot be read.
    """
    for source in _sources(run_folder, data):
        read = read_source(source, skip_bad_rows=True, check_pictures=False)
        return {item.id: item for item in read.items}
    return {}


def find_picture(run_folder: Path, path: str) -> Picture | None:
    """A picture by the path that a table holds.

    Args:
      run_folder: paths are tried as they are, then from here, then from the held-out
        questions.
      path: as stored.

    Returns:
      The picture; None where there is none.
    """
    held_out = run_folder / "data" / "held_out"
    places = [as_path(path), run_folder / path, held_out / path]
    places.append(held_out / "images" / Path(path).name)
    for place in places:
        picture = embed_picture(place)
        if picture is not None:
            return picture
    return None


def _sources(run_folder: Path, data: str | None) -> Iterator[str | Path]:
    """Where the questions may be, as far as something is there."""
    train = run_folder / "data" / "train"
    if (train / "items.jsonl").is_file():
        yield train
    for source in (as_path(data), run_folder / data) if data else ():
        if source.exists() or "*" in source.name:
            yield source
    if data and data.startswith("tfds:"):
        yield data
