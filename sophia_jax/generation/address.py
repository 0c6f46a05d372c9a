"""Where a model on a server is, and the key that opens it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sophia_jax.types import InputError

__all__ = ["Address", "parse_address", "read_key"]

PREFIX = "openai:"


@dataclass(frozen=True)
class Address:
    """Where a model is.

    Attributes:
      url: up to `/chat/completions`, as in `http://host:8000/v1`.
      model: its name on the server.
    """

    url: str
    model: str


def parse_address(text: str, *, field: str = "reasoner") -> Address | None:
    """Read `openai:URL#MODEL`.

    Args:
      text: as given; anything else names no server.
      field: whose address it is, for messages.

    Returns:
      The address, or None for what does not begin with `openai:`.

    Raises:
      InputError: it begins so, and goes on otherwise. A password is not repeated.
    """
    if not text.startswith(PREFIX):
        return None
    url, _, model = text.removeprefix(PREFIX).partition("#")
    if "@" in url or "?" in url:
        raise InputError(
            f"{field}: expected a URL without user, password and query; a key is read "
            "from the environment"
        )
    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_good = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_good:
        raise InputError(f"{field}: expected {PREFIX}http://HOST/v1#MODEL, got {text}")
    if not model.strip():
        raise InputError(f"{field}: expected a #MODEL behind the URL, got {text}")
    return Address(url.rstrip("/"), model)


def read_key(variable: str) -> str | None:
    """The key in the environment; None where there is none.

    Raises:
      InputError: it cannot stand in a header; the key is not repeated.
    """
    key = os.environ.get(variable)
    if key and not re.fullmatch(r"[!-~]+", key):
        raise InputError(
            f"{variable}: expected printable ASCII without spaces, got other characters"
        )
    return key or None
