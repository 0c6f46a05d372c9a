"""Which page of the docs helps with which failure: the one place that knows both."""

from __future__ import annotations

import re

__all__ = ["HELP_PAGES", "help_page"]

HELP_PAGES: tuple[tuple[str, str], ...] = (
    (
        "docs/how-to/out-of-memory.md",
        r"(?s)^\w*Error\b.*(?:RESOURCE_EXHAUSTED|[Oo]ut of memory)|^MemoryError"
        r"|^cache: expected",
    ),
    (
        "docs/how-to/resume.md",
        r"--resume: expected the settings|expected a (?:whole )?checkpoint",
    ),
    (
        "docs/how-to/servers.md",
        r"#MODEL|a server needs httpx2"
        r"|^(?:ServerError )?\S*https?://\S+: expected an answer",
    ),
    (
        "docs/how-to/verification.md",
        r"expected (?:a trajectory|something) to learn from",
    ),
    ("docs/reference/data-that-is-read.md", r"--skip-bad-rows skips"),
    (
        "docs/reference/models-that-load.md",
        r"expected a model folder|got pickled weights only",
    ),
)
"""Pages of the repository, each with what a failure says: the message where something
that was given cannot be used, else the name of the error and the message."""


def help_page(message: str) -> str | None:
    """The page that helps with a failure.

    Args:
      message: of the failure, as `HELP_PAGES` has it.

    Returns:
      A path in the repository, or None where no page says more than the message.
    """
    for page, pattern in HELP_PAGES:
        if re.search(pattern, message):
            return page
    return None
