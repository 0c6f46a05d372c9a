"""The pages' templates: everything that they show is escaped and made printable."""

from __future__ import annotations

from typing import Any

from sophia_jax.viz.printable import count, duration, percent, printable

__all__ = ["load_template"]


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
    return environment.get_template(name)


def _shown(value: Any) -> Any:
    """Every text of the page passes here; what is HTML already is our own."""
    untrusted = isinstance(value, str) and not hasattr(value, "__html__")
    return printable(value) if untrusted else value
