"""The pages' templates: everything that they show is escaped and made printable."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from sophia_jax.paths import write_whole
from sophia_jax.types import InputError
from sophia_jax.viz.printable import count, duration, percent, printable

__all__ = ["BrowserScript", "load_template", "write_page_file"]


@dataclass(frozen=True)
class BrowserScript:
    """The one script of a page.

    Attributes:
      text: of it.
      digest: by which the page's policy lets it run, and nothing else.
    """

    text: str
    digest: str

    @classmethod
    @functools.cache
    def load(cls) -> BrowserScript:
        """Of this package."""
        source = files("sophia_jax.viz").joinpath("browser.js")
        text = source.read_text("utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return cls(text, f"sha256-{digest}")


def load_template(name: str) -> Any:
    """A template of this package.

    Args:
      name: of its file.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sophia_jax.viz", ""),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count,
        "duration": duration,
        "percent": percent,
        "cut": printable,
    }
    environment.globals["browser_script"] = BrowserScript.load()
    return environment.get_template(name)


def write_page_file(run_folder: Path, template: str, shown: Mapping[str, Any]) -> Path:
    """Write a folder's `report.html`; a page that was there is replaced at once.

    Args:
      run_folder: where it is left.
      template: its name.
      shown: by it.

    Returns:
      The path of the page.

    Raises:
      InputError: it cannot be written.
    """
    page = load_template(template).render(shown) + "\n"
    path = run_folder / "report.html"
    try:
        write_whole(path, page)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: expected to write it, got {reason}") from error
    return path


def _shown(value: Any) -> Any:
    """Every text of the page passes here; what is HTML already is our own."""
    untrusted = isinstance(value, str) and not hasattr(value, "__html__")
    return printable(value) if untrusted else value
