"""From what was typed to settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["checked_options", "model_path"]


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
    return str(Path(given).resolve()) if Path(given).exists() else given
