"""Links of README and docs lead somewhere, and files that they name are there."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MARKDOWN = MarkdownIt("commonmark").enable("table")
# What looks like a path of the repository in a code span.
PATH = re.compile(
    r"(?<![\w/])(?:sophia_jax|scripts|tests|tpu_configs|docs|colab)/[\w./-]*\w"
)


def inline_tokens(text):
    for token in MARKDOWN.parse(text):
        yield from token.children or ()


def links(text):
    """Where links and pictures of a page lead."""
    for token in inline_tokens(text):
        target = token.attrGet("href") or token.attrGet("src")
        if target:
            yield unquote(target)


def anchors(text):
    """Names of a page's headings, as GitHub and the site make them."""
    found, is_heading = set(), False
    for token in MARKDOWN.parse(text):
        is_heading = token.type == "heading_open" or is_heading
        if token.type == "inline" and is_heading:
            words = "".join(
                child.content for child in token.children if child.content
            ).lower()
            found.add(re.sub(r"[ ]", "-", re.sub(r"[^\w\- ]", "", words)))
            is_heading = False
    return found


def broken(page, text):
    """What is wrong with a page's links."""
    for target in links(text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        if not leads_to.exists() or not leads_to.is_relative_to(ROOT):
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(leads_to.read_text()):
            yield f"{target}: no such heading"
    for token in inline_tokens(text):
        if token.type == "code_inline":
            for path in PATH.findall(token.content):
                if not (ROOT / path).exists():
                    yield f"{path}: no such file"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_names_of_files_lead_somewhere(page):
    assert list(broken(page, page.read_text())) == []


@pytest.mark.parametrize(
    "text",
    [
        "[a](nowhere.md)",
        "[a](README.md#nowhere)",
        "`scripts/nothing.py`",
        "![a](b.svg)",
    ],
)
def test_a_broken_link_is_found(text):
    assert list(broken(ROOT / "README.md", text))


def test_every_page_is_in_the_navigation_of_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in navigation


def test_what_readme_measured_stands_in_the_docs_too():
    """README shows some rows of tables that the docs have whole."""
    _, measured = (ROOT / "README.md").read_text().split("\n## Measured\n")
    measured = measured.partition("\n## ")[0]
    kept = "\n".join(page.read_text() for page in (ROOT / "docs/measured").glob("*.md"))
    rows = [line for line in measured.splitlines() if line.startswith("| ")]
    assert len(rows) > 20

    def plain(text):  # links lead elsewhere from there
        return re.sub(r"\]\([^)]*\)", "]", text)

    assert [row for row in rows if plain(row) not in plain(kept)] == []
