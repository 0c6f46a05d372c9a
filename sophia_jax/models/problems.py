"""What keeps a folder from being a model, collected before it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sophia_jax.types import InputError

__all__ = ["Problems"]


class Problems:
    """All that keeps a folder from being a model, so that it is told at once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.found: list[str] = []

    def attempt(self, read: Callable, *arguments: Any) -> Any:
        """What was read; None where that is refused, or needs what was refused."""
        if any(argument is None for argument in arguments):
            return None
        try:
            return read(*arguments)
        except InputError as error:
            self.found.append(str(error))
            return None

    def refuse(self) -> None:
        """Raise what was found, each with its file."""
        where = str(self._folder)
        names = [each.removeprefix(where).lstrip("/: ") for each in self.found]
        if len(self.found) == 1 and self.found[0].startswith(where):
            raise InputError(self.found[0])
        if names:
            raise InputError(f"{where}: {'; '.join(names)}")
