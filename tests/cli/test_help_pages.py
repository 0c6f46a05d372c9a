"""A failure that a page of the docs explains names it."""

import re
from pathlib import Path

import pytest

from sophia_jax.cli.failures import report_failure
from sophia_jax.cli.help_pages import HELP_PAGES, help_page
from sophia_jax.generation.server import ServerError
from sophia_jax.types import InputError

ROOT = Path(__file__).parents[2]
SETTINGS = "--resume: expected the settings in runs/a/config.json; seed was 0, is 1"


@pytest.mark.parametrize("page", [page for page, _ in HELP_PAGES])
def test_every_page_that_is_named_exists(page):
    assert (ROOT / page).is_file()


@pytest.mark.parametrize(
    ("error", "page"),
    [
        (MemoryError(), "out-of-memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9"), "memory"),
        (InputError("cache: expected at least 2.0 GiB for 256 slots"), "memory"),
        (InputError(SETTINGS), "resume"),
        (ServerError("http://a/v1: expected an answer, got HTTP 500"), "servers"),
        (InputError("a: expected a trajectory to learn from, got 0"), "verification"),
        (InputError("a.jsonl:3: id: expected ... (--skip-bad-rows skips and"), "data"),
        (InputError("a: expected a model folder, got none"), "models-that-load"),
    ],
)
def test_a_failure_names_its_page_on_the_same_line(error, page):
    line, _ = report_failure(error, None)
    assert "\n" not in line
    assert re.search(rf"; see docs/\S*{page}\S*\.md$", line)


@pytest.mark.parametrize(
    "message",
    ["limit: expected >= 1, got 0", "--out: a exists and holds no run; choose another"],
)
def test_a_failure_that_explains_itself_names_none(message):
    assert help_page(message) is None


def test_what_a_file_says_is_no_failure_of_the_machine():
    line, _ = report_failure(InputError("a: expected 1, got 'Out of memory'"), None)
    assert "see docs" not in line


def test_messages_of_the_code_still_say_what_the_table_looks_for():
    source = "\n".join(
        path.read_text()
        for path in (ROOT / "sophia_jax").rglob("*.py")
        if path.name != "help_pages.py"
    )
    for words in (
        "--resume: expected the settings",
        "a server needs httpx2",
        "--skip-bad-rows skips",
        "expected something to learn from",
        "expected a trajectory to learn from",
        "got pickled weights only",
    ):
        assert words in re.sub(r'"\s*f?"', "", source), words
