"""Modules of figures, which need matplotlib."""

from __future__ import annotations

import importlib
from typing import Any

from sophia_jax.types import InputError

__all__ = ["figures_of"]


def figures_of(module: str) -> Any:
    """A module of figures.

    Args:
      module: its name in this package.

    Raises:
      InputError: matplotlib is not installed.
    """
    try:
        return importlib.import_module(f"sophia_jax.viz.{module}")
    except ImportError as error:
        raise InputError(
            f"report: expected matplotlib, got no {error.name}; "
            "pip install sophia-jax[viz]"
        ) from error
