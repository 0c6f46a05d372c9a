"""What mkdocs fills in while it builds the site: names of packages, texts of --help.

On a page, a line `::: sophia_jax.PACKAGE` of a package that says in its `__init__`
where its names live becomes a line for each of them, `<!-- commands -->` the help of
all commands, and `<!-- README: HEADING -->` that section of README. So none of them can
fall behind.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DIRECTIVE = re.compile(r"^::: (sophia_jax[\w.]*)$", re.MULTILINE)
SECTION = re.compile(r"<!-- README: (.+) -->")
COMMANDS = "<!-- commands -->"
WIDTH = 84  # characters of a help text
TITLE = re.compile(r"^ \w[\w. ]*$")  # of options that belong together
RULE = re.compile(r"^ +-{20,}$")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page with what only the code knows, and without links out of the site.

    A link to a file of the repository leads there when the page is read in it; on the
    site its text is left.
    """
    markdown = SECTION.sub(lambda found: section(found[1]), markdown)
    up = "../" * (page.file.src_uri.count("/") + 1)
    markdown = re.sub(rf"\[([^\]]+)\]\({re.escape(up)}(?!\.)[^)]*\)", r"\1", markdown)
    markdown = DIRECTIVE.sub(lambda found: directives(found[1]), markdown)
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, commands())
    return markdown


def section(heading: str) -> str:
    """A section of README, with links as from a page of a folder of docs."""
    text = (ROOT / "README.md").read_text()
    found = re.search(rf"^## {heading}\n(.*?)(?=^## )", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"README.md: expected the heading {heading!r}, got none")
    within = found[1].strip().replace("](docs/", "](../")
    return re.sub(r"\]\((?!https?:|\.\./)", "](../../", within)


def directives(name: str) -> str:
    """A line for mkdocstrings for each name of a package; of anything else, its own."""
    folder = ROOT / name.replace(".", "/")
    names = homes(folder / "__init__.py") if folder.is_dir() else {}
    if not names:
        return f"::: {name}\n    options: {{show_root_full_path: true}}"
    # What has a page of its own is only shown again: links lead there.
    again = "\n    options: {skip_local_inventory: true}"
    others = whole_modules()
    return "\n\n".join(
        f"::: {home}.{each}{again if home in others else ''}"
        for each, home in names.items()
    )


def whole_modules() -> set[str]:
    """The modules of which pages show everything."""
    pages = (ROOT / "docs" / "reference").glob("*.md")
    found = (DIRECTIVE.findall(page.read_text()) for page in pages)
    return {name for names in found for name in names}


def homes(path: Path) -> dict[str, str]:
    """Where the names of a package's `__init__` live, in its order.

    It imports them from modules of its own, or lists them in a dict of modules, from
    which they are loaded when first used.
    """
    package = ".".join(path.parent.relative_to(ROOT).parts)
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
            found |= {each.name: node.module for each in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for name, module in ast.literal_eval(node.value).items():
                whole = module if module.startswith(package) else f"{package}.{module}"
                found[name] = whole
    return found


def commands() -> str:
    """The help of every command, as the command line gives it."""
    from sophia_jax.cli.main import COMMANDS as NAMES

    return "\n\n".join(f"## {name}\n\n{readable(help_of(name))}" for name in NAMES)


def help_of(name: str) -> str:
    """What `sophia-jax NAME --help` prints."""
    from sophia_jax.cli.main import main

    before = dict(os.environ)
    os.environ |= {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            main([name, "--help"])
    finally:
        os.environ.clear()
        os.environ.update(before)
    return text.getvalue()


def readable(text: str) -> str:
    """A help text with headings in place of its ruled titles."""
    lines = [line.rstrip() for line in text.splitlines()]
    parts: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if RULE.match(following) and TITLE.match(line):
            parts += ["```", "", f"### {line.strip()}", "", "```text"]
        elif not RULE.match(line) and not line.startswith("usage:"):
            parts.append(line)
    first = parts.index("```")  # the end of a block that was never begun
    return "\n".join([*parts[:first], *parts[first + 1 :], "```"])
