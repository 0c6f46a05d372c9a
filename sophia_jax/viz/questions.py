"""The questions of a run, and the pictures that they are about."""

from __future__ import annotations

from pathlib import Path

from sophia_jax.data.item_rows import parse_row
from sophia_jax.types import InputError, Item
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
    path = _question_file(run_folder, data)
    if path is None:
        return {}
    questions = {}
    try:
        with path.open("rb") as file:
            for line in file:
                item = _item(line, path.parent)
                if item is not None:
                    questions[item.id] = item
    except OSError as error:
        raise InputError(
            f"{path}: expected a question file, got {error.strerror}"
        ) from error
    return questions


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
    places = [Path(path), run_folder / path, held_out / path]
    places.append(held_out / "images" / Path(path).name)
    for place in places:
        picture = embed_picture(place)
        if picture is not None:
            return picture
    return None


def _question_file(run_folder: Path, data: str | None) -> Path | None:
    places = [run_folder / "data" / "train"]
    places += [Path(data), run_folder / data] if data else []
    for place in places:
        path = place / "items.jsonl" if place.is_dir() else place
        if path.is_file():
            return path
    return None


def _item(line: bytes, folder: Path) -> Item | None:
    try:
        return parse_row(line, folder)
    except InputError:
        return None
