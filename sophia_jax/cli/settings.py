"""From what was typed to settings."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from sophia_jax.paths import as_path, is_remote, resolved

__all__ = ["AnyPath", "checked_options", "model_path", "texts_of"]

AnyPath = Annotated[
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda given: as_path(given[0]),
        is_instance=lambda value: isinstance(value, os.PathLike),
        str_from_instance=lambda path: [str(path)],
    ),
]
"""A path on a disk or `gs://BUCKET/...`; `Path` would make `gs:/` of its beginning."""


def texts_of(options: Any) -> Iterator[str]:
    """All texts and paths among options, and among those that they are made of."""
    if dataclasses.is_dataclass(options):
        options = [getattr(options, each.name) for each in dataclasses.fields(options)]
    if isinstance(options, str | os.PathLike):
        yield os.fspath(options)
    elif isinstance(options, list | tuple):
        for each in options:
            yield from texts_of(each)


@contextmanager
def checked_options() -> Iterator[None]:
    """Make a setting that is out of its range the user's error.

    Raises:
      InputError: for a ValueError of a configuration.
    """
    from sophia_jax.types import InputError

    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


def model_path(given: str) -> str:
    """An absolute path for a folder, so that a run may go on from elsewhere."""
    if is_remote(given):
        return given
    return str(resolved(given)) if Path(given).exists() else given
