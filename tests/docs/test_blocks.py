"""What README and docs show runs, and prints what they say that it prints."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from sophia_jax.cli.main import main, parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MOST_NOT_RUN = 4  # blocks of all pages together
SHORTEST_REASON = 20  # characters
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
HARMLESS = ("cd ", "export ", "python -m venv ")
PLATFORM = {"PROJECT": "my-project", "ZONE": "us-east5-b", "PATH": os.environ["PATH"]}


def matches(expected, printed):
    """Whether a text is what was printed; `...` stands for anything in a line, and
    alone on a line for any lines."""
    pattern = ""
    for line in expected.rstrip().splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            words = map(re.escape, line.rstrip().split("..."))
            pattern += ".*?".join(words) + r"[ ]*\n"
    return re.fullmatch(pattern, printed.rstrip() + "\n") is not None


def run_python(block, names, page):
    """Execute a block in its page's names; what it printed."""
    # Lines of the page in a traceback.
    source = "\n" * block.line + block.text
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, page, "exec", dont_inherit=True), names)
    return printed.getvalue()


def command_lines(text):
    """The commands of a shell block, their continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and line[0] != "#"]


def check_script(words, root):
    """A launcher shows what it would do; of other scripts the options are looked up."""
    script = root / words[0]
    assert script.is_file(), f"{words[0]}: expected a file of the repository"
    if script.parent.name == "launch":
        ends = words.index("--") if "--" in words else len(words)
        dry = [*words[1:ends], "--dry-run", *words[ends:]]
        done = subprocess.run(
            [script, *dry], env=PLATFORM, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout
    if script.name == "quickstart.sh":
        parse(["quickstart", *words[1:]])
        return ""
    known = script.read_text() + (root / "scripts" / "bench_workload.py").read_text()
    for option in (word for word in words[1:] if word.startswith("--")):
        named = option[2:].replace("-", "_")
        assert option in known or f"{named}:" in known, f"{words[0]}: no {option}"
    return ""


def check_install(words):
    """The extras that are asked for exist."""
    for word in words:
        for extras in re.findall(r"(?:^\.|sophia-jax)\[(.+)\]", word):
            assert EXTRAS.keys() >= set(extras.split(",")), word


def check_command(line, *, runs, root=ROOT):
    """One line of a shell block: what it printed, where it is run.

    Commands of ours are parsed as they are typed, so an unknown option fails.
    """
    words = shlex.split(line.partition(" #")[0])
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    if words[:1] == ["sophia-jax"] and runs:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                code = main(words[1:])
            except SystemExit as ended:  # after --help
                code = ended.code
        assert code == 0, line
        return printed.getvalue()
    if words[:1] == ["sophia-jax"]:
        parse(words[1:])
    elif "pip" in words[:3]:
        check_install(words)
    elif words[0].startswith(("scripts/", "./scripts/")):
        return check_script(words, root)
    elif words[0] in ("python", ".venv/bin/python") and words[1].endswith(".py"):
        return check_script(words[1:], root)
    else:
        known = line.startswith(HARMLESS)
        assert known, f"{line}: expected a command that is checked"
    return ""


def check_block(block, names, page):
    """Run or parse a block; what it printed, None where nobody knows."""
    if "not run" in block.marks:
        return None
    if block.language in ("python", "setup"):
        return run_python(block, names, page)
    if block.language == "sh":
        runs = "run" in block.marks
        printed = [check_command(x, runs=runs) for x in command_lines(block.text)]
        return "".join(printed)
    if block.language == "json":
        for line in block.text.splitlines():
            json.loads(line)
    else:
        where = f"{page}:{block.line}"
        raise AssertionError(f"{where}: nothing checks a block of {block.language!r}")
    return None


def check_blocks(blocks, page):
    """All blocks of a page, in order and with the same names.

    What a block of Python prints must be shown.
    """
    names, printed, hidden = {"__name__": "page"}, None, ""
    for block in blocks:
        where = f"{page}:{block.line}"
        if block.language == "text" and "not run" not in block.marks:
            shown = block.follows and printed is not None
            assert shown, f"{where}: expected after a block that prints it"
            assert matches(block.text, printed), f"{where}: it printed\n{printed}"
            printed, hidden = None, ""
        elif block.language == "setup":
            check_block(block, names, page)
        else:
            assert not hidden, f"{where}: expected after what was printed: {hidden}"
            printed = check_block(block, names, page)
            hidden = printed if block.language == "python" and printed else ""
    assert not hidden, f"{page}: expected to show what was printed: {hidden}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_blocks_of_a_page_do_what_it_says(page, blocks_of, workspace, monkeypatch):
    for name, value in PLATFORM.items():
        monkeypatch.setenv(name, value)
    check_blocks(blocks_of(page.read_text()), str(page.relative_to(ROOT)))


def test_few_blocks_are_not_run_and_each_says_why(blocks_of):
    reasons = [
        block.marks["not run"]
        for page in PAGES
        for block in blocks_of(page.read_text())
        if "not run" in block.marks
    ]
    assert len(reasons) <= MOST_NOT_RUN
    assert min(map(len, reasons)) >= SHORTEST_REASON


@pytest.mark.parametrize(
    "page",
    [
        "```python\nprint(1)\n```\n\n```text\n2\n```",
        "```python\n1 / 0\n```",
        "```python\nprint(1)\n```\n\nand\n\n```python\n2\n```",
        "```python\nprint(1)\n```",
        "```sh\nsophia-jax collect --polcy x\n```",
        "```sh\nsophia-jax nothing\n```",
        "```sh\nscripts/nothing.sh\n```",
        "```sh\nscripts/launch/tpu.sh create --name a\n```",
        "```sh\npython scripts/bench_verify.py --speed\n```",
        "```sh\npip install 'sophia-jax[nothing]'\n```",
        "```sh\nrm -r /\n```",
        "```text\nof no block\n```",
        "```\nof no language\n```",
        "words\n\n    indented\n",
        "```json\n{'a': 1}\n```",
    ],
)
def test_a_wrong_page_is_found(page, blocks_of, workspace):
    with pytest.raises((AssertionError, ArithmeticError, SystemExit, ValueError)):
        check_blocks(blocks_of(page), "a page")


def test_blocks_share_names_and_a_hidden_setup(blocks_of):
    page = (
        "<!-- setup\na = 1\n-->\n\n```python\nb = a\n```\n\n<!-- setup\nb += 1\n-->\n\n"
    )
    page += "```python\nprint(b)\n```"
    check_blocks(blocks_of(f"{page}\n\nThis prints:\n\n```text\n2\n```"), "a page")


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a ... c", "a b c\n", True),
        ("a\n...\nd", "a\nb\nc\nd\n", True),
        ("a\n...\nd", "a\nb\n", False),
        ("a ... c", "a b d\n", False),
        ("a", "a\nb", False),
        ("1.5", "1x5", False),
    ],
)
def test_dots_stand_for_anything(expected, printed, same):
    assert matches(expected, printed) is same
